"""Measures a folder of images with several coders, in one process or in many."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from ticodec.container import MAX_PIXELS
from ticodec.errors import BadInputError, TicodecError, UsageError
from ticodec.files import read_file
from ticodec.image_files import list_images
from ticodec.ms_ssim import ms_ssim
from ticodec.picture import Pixels
from ticodec.psnr import psnr
from ticodec.reading.read import read_picture

from .coder import Coder, errors_named_after
from .folder_labels import PixelFile, folder_class
from .measurements import LINES, Key, Measurement, Store, check_folder
from .packages import check_evaluation_packages
from .registry import CoderSpec, make
from .workers import outcomes

#: Called with (what is being done or was done, number of tasks done, number of all tasks).
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Source:
    """An image to measure.

    Args:
        name: its path within the folder.
        path: the path to open it.
        digest: SHA-256 of the file.
        pixels: SHA-256 of its RGB samples.
        label: its normalised class, or None unless a classifier of the run knows it.
    """

    name: str
    path: Path
    digest: str
    pixels: str
    width: int
    height: int
    label: str | None = None


@dataclass
class Evaluation:
    """What a run has measured.

    Args:
        sources: images that every coder coded at every setting. Only these are averaged.
        specs, coders: the first one is compared with the others.
        store: the measurements and the coded files.
        failed: an error line for every other image, by its name.
        classifier: the classifier of decoded pixels, if any.
    """

    sources: list[Source]
    specs: list[CoderSpec]
    coders: list[Coder]
    store: Store
    failed: dict[str, str] = field(default_factory=dict)
    classifier: PixelFile | None = None

    def measured(self, source: Source, coder: Coder, setting: float) -> Measurement:
        """A measurement that has been made."""
        return self.store.known[_key(source, coder, setting)]

    def sizes(self, source: Source, coder: Coder) -> dict[float, int]:
        """The sizes in bytes of all coded files of an image with a coder, by setting."""
        which = (source.digest, coder.name, coder.version)
        return {key[3]: row.bytes for key, row in self.store.known.items() if key[:3] == which}

    def has(self, source: Source, coder: Coder, setting: float) -> bool:
        """Whether a measurement has been made, and its file is unchanged."""
        known = self.store.known.get(_key(source, coder, setting))
        if known is None:
            return False
        try:
            data = self.path(source, coder, setting).read_bytes()
        except OSError:
            return False
        return hashlib.sha256(data).hexdigest() == known.stream

    def add(self, spec: CoderSpec, source: Source, setting: float) -> Measurement:
        """The measurement of one more setting. It is made unless it is known.

        Raises TicodecError when the coder fails.
        """
        coder = ready(spec)
        if not self.has(source, coder, setting):
            measured, data = measure(spec, source, setting)
            self.store.add(measured, self.path(source, coder, setting), data)
        return self.measured(source, coder, setting)

    def path(self, source: Source, coder: Coder, setting: float) -> Path:
        """The path of a coded file."""
        return self.store.stream(coder.name, setting, source.digest, coder.suffix)


def _key(source: Source, coder: Coder, setting: float) -> Key:
    label = source.label if coder.classified else None
    return source.digest, coder.name, coder.version, setting, label


def load(path: Path, max_pixels: int = MAX_PIXELS) -> tuple[Source, Pixels]:
    """Read an image file.

    Returns it as a source, whose name is the file's name, and its pixels: (H, W, 3) uint8, upright
    RGB.

    Raises BadInputError when the file cannot be read or the image is too large.
    """
    data = read_file(path)
    pixels = read_picture(data, max_pixels).pixels
    digest, of_pixels = (hashlib.sha256(part).hexdigest() for part in (data, pixels.tobytes()))
    return Source(path.name, path, digest, of_pixels, pixels.shape[1], pixels.shape[0]), pixels


@lru_cache(maxsize=2)
def pixels_of(source: Source) -> Pixels:
    """The pixels (H, W, 3) uint8 of a source. Raises BadInputError when its file has changed."""
    now, pixels = load(source.path, source.width * source.height)
    if now.digest != source.digest:
        raise BadInputError("the image was changed while it was being measured")
    return pixels


def find_sources(
    folder: Path, max_pixels: int, progress: Progress
) -> tuple[list[Source], dict[str, str]]:
    """The readable images of a folder, and error lines for the other images by name.

    Folders of reports are skipped, because they are full of images.

    Raises BadInputError when the folder has no image, or none that can be read.
    """
    images = list_images(folder)  # first, because it checks the folder
    reports = {path.parent for path in folder.rglob(LINES)}
    paths = [path for path in images if not reports.intersection(path.parents)]
    if not paths:
        raise BadInputError(f"{folder}: the only images in it belong to reports")
    sources, failed = [], {}
    for done, path in enumerate(paths):
        name = path.relative_to(folder).as_posix()
        progress(f"reading {name}", done, len(paths))
        try:
            sources.append(replace(load(path, max_pixels)[0], name=name))
        except BadInputError as error:
            failed[name] = str(error).removeprefix(f"{path}: ")
    if not sources:
        name, why = next(iter(failed.items()))
        raise BadInputError(f"{folder}: no image in it can be read; {name}: {why}")
    return sources, failed


@cache
def ready(spec: CoderSpec) -> Coder:
    """The coder of a spec. It is checked and warmed up once per process.

    Raises UsageError when the coder cannot be used, BadInputError for damaged weights.
    """
    coder = make(spec)
    try:
        with errors_named_after(coder):
            coder.prepare()
    except (UsageError, BadInputError):
        raise
    except TicodecError as error:
        raise UsageError(f"{error}; leave this codec out, or repair it") from error
    return coder


def measure(spec: CoderSpec, source: Source, setting: float) -> tuple[Measurement, bytes]:
    """Code one image, decode it and compare the pixels.

    Returns the measurement and the bytes of the coded file. Raises TicodecError when the coder
    fails.
    """
    coder, pixels = ready(spec), pixels_of(source)
    with errors_named_after(coder):
        started = time.perf_counter()
        data = coder.encode(pixels, setting)
        encoded = time.perf_counter()
        decoded = coder.decode(data)
        done = time.perf_counter()
        if decoded.shape != pixels.shape:
            raise TicodecError(f"{coder.name}: decoded to {decoded.shape}, not {pixels.shape}")
        db, similarity = psnr(pixels, decoded), ms_ssim(pixels, decoded)
        ranks = _ranks(spec, source, data, decoded) if coder.classified else {}
    measured = Measurement(
        image=source.digest,
        coder=coder.name,
        version=coder.version,
        setting=setting,
        stream=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        bpp=8 * len(data) / (source.width * source.height),
        psnr=None if db == float("inf") else round(db, 4),
        ms_ssim=None if similarity is None else round(similarity, 5),
        encode_seconds=round(encoded - started, 4),
        decode_seconds=round(done - encoded, 4),
        **ranks,
    )
    return measured, data


def _ranks(spec: CoderSpec, source: Source, data: bytes, decoded: Pixels) -> dict[str, Any]:
    """An image's class and its ranks by the classifiers of a spec, as fields of `Measurement`."""
    label = source.label
    if label is None:
        return {}
    fields: dict[str, Any] = {"label": label}
    if spec.bitstream:
        fields["rank"] = make(spec).rank(data, label)
    if spec.pixels:
        fields["pixel_rank"] = spec.pixels.rank(decoded, label)
        fields["original_rank"] = _original_rank(source, spec.pixels)
    return fields


@lru_cache(maxsize=2)
def _original_rank(source: Source, classifier: PixelFile) -> int | None:
    return classifier.rank(pixels_of(source), source.label) if source.label else None


Task = tuple[CoderSpec, Source, float]
Outcome = tuple[Task, tuple[Measurement, bytes] | TicodecError]


def evaluate(
    folder: Path,
    specs: list[CoderSpec],
    out: Path,
    jobs: int = 1,
    fresh: bool = False,
    max_pixels: int = MAX_PIXELS,
    progress: Progress = lambda what, done, total: None,
    classifier: PixelFile | None = None,
) -> Evaluation:
    """Measure every image of a folder with every coder over its ladder.

    Measurements that `out` already holds are not made again, unless `fresh` is true. Every
    measurement is on disk before the next one begins, so an interrupted run continues from there.

    Images in folders that have the name of a class are classified too. Models that can do this
    classify the bitstream, and `classifier` classifies the pixels that every coder decoded.

    Raises UsageError when a coder cannot be used or the extra `evaluate` is missing, BadInputError
    for a folder without readable images, TicodecError when the report cannot be written or a worker
    process dies.
    """
    check_evaluation_packages()
    check_folder(out)
    for spec in specs:
        make(spec)
    sources, failed = find_sources(folder, max_pixels, progress)
    sources, specs = _with_classes(sources, specs, classifier)
    coders = [make(spec) for spec in specs]
    if fresh:  # delete old measurements only if every coder works
        for spec in specs:
            ready(spec)
    run = Evaluation(sources, specs, coders, Store(out, fresh), failed, classifier)
    tasks = [
        (spec, source, setting)
        for source in sources
        for spec, coder in zip(specs, coders, strict=True)
        for setting in coder.ladder
        if not run.has(source, coder, setting)
    ]
    for spec in dict.fromkeys(task[0] for task in tasks):
        progress(f"starting {make(spec).name}", 0, len(tasks))
        ready(spec)
    for done, ((spec, source, setting), outcome) in enumerate(outcomes(_attempt, tasks, jobs)):
        coder = make(spec)
        if isinstance(outcome, TicodecError):
            failed.setdefault(source.name, f"at {coder.knob} {setting:g}, {outcome}")
        else:
            run.store.add(outcome[0], run.path(source, coder, setting), outcome[1])
        progress(f"{source.name}: {coder.name}, {coder.knob} {setting:g}", done + 1, len(tasks))
    run.failed = dict(sorted(failed.items()))
    run.sources = [source for source in sources if source.name not in failed]
    if not run.sources:
        name, why = next(iter(run.failed.items()))
        raise TicodecError(f"no image was coded by every codec; {name}: {why}")
    return run


def _with_classes(
    sources: list[Source], specs: list[CoderSpec], classifier: PixelFile | None
) -> tuple[list[Source], list[CoderSpec]]:
    """Sources with their class if a classifier knows it, and specs with their classifiers."""
    folders = {source.name: folder_class(source.name) for source in sources}
    named = {name for name in folders.values() if name}
    if not named:
        return sources, specs
    known = named & classifier.labels() if classifier else set()
    pixels, asked = classifier if known else None, []
    for spec in specs:
        own = named & make(spec).labels()
        asked.append(replace(spec, bitstream=bool(own), pixels=pixels))
        known |= own
    labels = {name: label if label in known else None for name, label in folders.items()}
    return [replace(source, label=labels[source.name]) for source in sources], asked


def _attempt(task: Task) -> Outcome:
    try:
        return task, measure(*task)
    except TicodecError as error:
        return task, error
    except SystemExit as error:  # a signal ends this worker, see `processes.start_worker`
        os._exit(int(error.code or 0))
