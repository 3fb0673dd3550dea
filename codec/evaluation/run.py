"""Measuring a folder of images with several coders, in one process or many."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path

from ticodec.container import MAX_PIXELS
from ticodec.errors import BadInputError, TicodecError, UsageError
from ticodec.images import Pixels, list_images, open_image, read_file, to_picture

from . import metrics
from .coders import Coder, CoderSpec, blamed, make
from .store import LINES, Measurement, Store, check_folder

#: Called with (what was done, how many of how many).
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Source:
    """An image to measure.

    Args:
        name: its path within the folder; path: to open it.
        digest: SHA-256 of the file; pixels: SHA-256 of its RGB samples.
    """

    name: str
    path: Path
    digest: str
    pixels: str
    width: int
    height: int


@dataclass
class Evaluation:
    """What a run has measured.

    Args:
        sources: images that every coder coded at every setting, the only ones averaged.
        failed: what went wrong, by image: its name, and a line.
        specs, coders: the first is the one that is compared with the others.
    """

    sources: list[Source]
    specs: list[CoderSpec]
    coders: list[Coder]
    store: Store
    failed: dict[str, str] = field(default_factory=dict)

    def measured(self, source: Source, coder: Coder, setting: float) -> Measurement:
        """One measurement that has been made."""
        return self.store.known[source.digest, coder.name, coder.version, setting]

    def sizes(self, source: Source, coder: Coder) -> dict[float, int]:
        """Bytes by setting, of everything measured of an image with a coder."""
        which = (source.digest, coder.name, coder.version)
        return {key[3]: row.bytes for key, row in self.store.known.items() if key[:3] == which}

    def has(self, source: Source, coder: Coder, setting: float) -> bool:
        """Whether a measurement has been made, and its file is still what it was."""
        found = self.store.known.get((source.digest, coder.name, coder.version, setting))
        try:
            data = self.path(source, coder, setting).read_bytes() if found else b""
        except OSError:
            return False
        return found is not None and hashlib.sha256(data).hexdigest() == found.stream

    def add(self, spec: CoderSpec, source: Source, setting: float) -> Measurement:
        """Measure one setting more, unless it is known. Raises TicodecError."""
        coder = ready(spec)
        if not self.has(source, coder, setting):
            measured, data = measure(spec, source, setting)
            self.store.add(measured, self.path(source, coder, setting), data)
        return self.measured(source, coder, setting)

    def path(self, source: Source, coder: Coder, setting: float) -> Path:
        """Where a coded file is."""
        return self.store.stream(coder.name, setting, source.digest, coder.suffix)


def load(path: Path, max_pixels: int = MAX_PIXELS) -> tuple[Source, Pixels]:
    """An image file as a source by its own name, and its pixels, (H, W, 3) uint8: upright RGB.

    Raises BadInputError when it cannot be read or is too large.
    """
    data = read_file(path)
    pixels = to_picture(open_image(data, max_pixels)).pixels
    digest, of_pixels = (hashlib.sha256(part).hexdigest() for part in (data, pixels.tobytes()))
    return Source(path.name, path, digest, of_pixels, pixels.shape[1], pixels.shape[0]), pixels


@lru_cache(maxsize=2)
def pixels_of(source: Source) -> Pixels:
    """(H, W, 3) uint8 of a source. Raises BadInputError when it is not what it was."""
    found, pixels = load(source.path, source.width * source.height)
    if found.digest != source.digest:
        raise BadInputError("the image was changed while it was being measured")
    return pixels


def find_sources(
    folder: Path, max_pixels: int, progress: Progress
) -> tuple[list[Source], dict[str, str]]:
    """The readable images of a folder, and what is wrong with the others, by name.

    Reports in the folder are not searched: they are full of images.

    Raises BadInputError when it has no image, or none that can be read.
    """
    reports = {path.parent for path in folder.rglob(LINES)}
    paths = [path for path in list_images(folder) if not reports.intersection(path.parents)]
    if not paths:
        raise BadInputError(f"{folder}: no images in it but those of reports")
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
    """The coder of a spec, checked and warm, once a process.

    Raises UsageError when it cannot be used, BadInputError for damaged weights.
    """
    coder = make(spec)
    try:
        with blamed(coder):
            coder.prepare()
    except (UsageError, BadInputError):
        raise
    except TicodecError as error:
        raise UsageError(f"{error}; leave it out, or mend it") from error
    return coder


def measure(spec: CoderSpec, source: Source, setting: float) -> tuple[Measurement, bytes]:
    """Code one image, decode it, compare. Raises TicodecError when the coder fails."""
    coder, pixels = ready(spec), pixels_of(source)
    with blamed(coder):
        started = time.perf_counter()
        data = coder.encode(pixels, setting)
        encoded = time.perf_counter()
        decoded = coder.decode(data)
        done = time.perf_counter()
        if decoded.shape != pixels.shape:
            raise TicodecError(f"{coder.name}: decoded to {decoded.shape}, not {pixels.shape}")
        psnr, ms_ssim = metrics.psnr(pixels, decoded), metrics.ms_ssim(pixels, decoded)
    measured = Measurement(
        image=source.digest,
        coder=coder.name,
        version=coder.version,
        setting=setting,
        stream=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        bpp=8 * len(data) / (source.width * source.height),
        psnr=None if psnr == float("inf") else round(psnr, 4),
        ms_ssim=None if ms_ssim is None else round(ms_ssim, 5),
        encode_seconds=round(encoded - started, 4),
        decode_seconds=round(done - encoded, 4),
    )
    return measured, data


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
) -> Evaluation:
    """Measure every image of a folder with every coder over its ladder.

    What `out` holds already is not measured again, unless `fresh`; every measurement is on disk
    before the next begins, so that an interrupted run goes on where it was.

    Raises UsageError for a coder that is not to be had, BadInputError for a folder without
    readable images, TicodecError when the disk refuses or a worker process dies.
    """
    check_folder(out)
    coders = [make(spec) for spec in specs]
    sources, failed = find_sources(folder, max_pixels, progress)
    if fresh:  # nothing is forgotten that cannot be measured again
        for spec in specs:
            ready(spec)
    run = Evaluation(sources, specs, coders, Store(out, fresh), failed)
    tasks = [
        (spec, source, setting)
        for source in sources
        for spec, coder in zip(specs, coders, strict=True)
        for setting in coder.ladder
        if not run.has(source, coder, setting)
    ]
    for spec in dict.fromkeys(task[0] for task in tasks):
        progress(f"starting {spec.name}", 0, len(tasks))
        ready(spec)
    for done, ((spec, source, setting), outcome) in enumerate(_outcomes(tasks, jobs)):
        coder = make(spec)
        if isinstance(outcome, TicodecError):
            failed.setdefault(source.name, f"at {coder.knob} {setting:g}, {outcome}")
        else:
            run.store.add(outcome[0], run.path(source, coder, setting), outcome[1])
        progress(f"{source.name}: {coder.name} {setting:g}", done + 1, len(tasks))
    run.failed = dict(sorted(failed.items()))
    run.sources = [source for source in sources if source.name not in failed]
    if not run.sources:
        name, why = next(iter(run.failed.items()))
        raise TicodecError(f"no image was coded by every codec; {name}: {why}")
    return run


def _attempt(task: Task) -> Outcome:
    try:
        return task, measure(*task)
    except TicodecError as error:
        return task, error
    except SystemExit as error:  # told to end, see _start_worker
        os._exit(int(error.code or 0))


def _outcomes(tasks: list[Task], jobs: int) -> Iterator[Outcome]:
    if jobs == 1 or len(tasks) <= 1:
        yield from map(_attempt, tasks)
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _start_worker, (threads,)) as pool:
        waiting = iter(tasks)
        under_way: set[Future[Outcome]] = set()
        try:
            while True:  # a few tasks a worker: what is done and taken frees its memory
                with _without_ctrl_c():  # workers are started by the first tasks
                    for task in islice(waiting, 4 * jobs - len(under_way)):
                        under_way.add(pool.submit(_attempt, task))
                if not under_way:
                    return
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        except BrokenProcessPool as error:
            raise TicodecError(
                "a worker process died, perhaps for lack of memory; try fewer --jobs. What is "
                "measured is kept: the same command, without --fresh, goes on"
            ) from error
        except BaseException:  # Ctrl-C, a full disk: nobody waits for what is under way
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Ctrl-C waits; processes started here never hear of it, which is for their starter to do."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(threads: int) -> None:
    import torch

    def end(*_: object) -> None:
        sys.exit(128 + signal.SIGTERM)  # unwinds: programs are ended, temporary folders removed

    signal.signal(signal.SIGTERM, end)
    torch.set_num_threads(threads)
