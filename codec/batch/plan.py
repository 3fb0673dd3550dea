"""What a run has to do: which files, what their outputs are called, which are up to date.

SRC ─► list ─► suffix, include, exclude ─► names of outputs ─► up to date? ─┬─► items to do
                                                                            └─► rows: skipped
"""

from __future__ import annotations

import contextlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from ticodec import container, weights
from ticodec.container import QUALITY_STEPS, Header
from ticodec.errors import TicodecError, UsageError
from ticodec.files import PART_PREFIX
from ticodec.images import SUFFIXES

from .png import END, HEAD, note, read_note
from .storage import Found, Local, Place, place
from .tasks import Action, Item, Job, Row

TIC = ".tic"
OUTPUTS = {"encode": TIC, "decode": ".png", "classify": ""}
INPUTS: dict[Action, set[str]] = {
    "encode": SUFFIXES,
    "decode": {TIC},
    "classify": SUFFIXES | {TIC},
}
#: Outputs looked at at once: most of the time is the store's answer.
LOOKING = 16
#: File systems keep times in steps of up to this, seconds (FAT).
TIME_STEP = 2.0


@dataclass
class Plan:
    """What there is to do, and rows of what there is not.

    `others`: files that are no input of the job, by their suffix or by --include, --exclude.
    """

    items: list[Item] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    others: int = 0


def check(job: Job, dry: bool = False) -> None:
    """Refuse before any work what no worker could do; unless `dry`, see that DST can be written.

    Loads no network. Raises TicodecError.
    """
    source = place(job.source)
    if not source.exists():
        raise UsageError(f"{job.source}: there is nothing of that name")
    if job.delete_source and not isinstance(source, Local):
        raise UsageError(f"{job.source}: only files of this machine can be deleted after a check")
    if job.action != "decode":
        weights.find(job.model).checked_quality(job.quality)
    if job.head is not None:
        weights.read_head(Path(job.head), None)
    if job.target is not None and not dry:
        place(job.target).prepare()


def make_plan(job: Job, include: list[str], exclude: list[str]) -> Plan:
    """List the source and name the outputs; nothing is read yet. Raises TicodecError."""
    source = place(job.source, job.follow_links)
    inside = _inside(job)
    plan, found = Plan(), []
    for each in source.files():
        suffix = PurePosixPath(each.name).suffix.lower()
        wanted = not include or _matches(each.name, include)
        if each.name.startswith(inside) or PurePosixPath(each.name).name.startswith(PART_PREFIX):
            continue
        fits = suffix in INPUTS[job.action] or each.name.endswith("/")
        if not fits or not wanted or _matches(each.name, exclude):
            plan.others += 1
        elif each.problem is not None:
            plan.rows.append(Row(each.name, "", "failed", error=each.problem))
        else:
            found.append(each)
    found.sort(key=lambda each: each.name)
    outputs = output_names([each.name for each in found], OUTPUTS[job.action])
    for each, output in zip(found, outputs, strict=True):
        plan.items.append(Item(each.name, output, each.size, each.modified))
    return plan


def _inside(job: Job) -> str | tuple[str, ...]:
    """Where in the source the target lies, so that outputs are no inputs; () if elsewhere."""
    if job.target is None:
        return ()
    source, target = place(job.source), place(job.target)
    if not isinstance(source, Local) or not isinstance(target, Local):
        return ()
    try:
        name = target.root.resolve().relative_to(source.root.resolve()).as_posix()
    except ValueError:
        return ()
    return () if name == "." else f"{name}/"


def _matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern is that of the name below the place, of the file, or of a folder above."""
    path = PurePosixPath(name)
    candidates = [name, path.name, *map(str, path.parents), *(p.name for p in path.parents)]
    return any(
        fnmatchcase(each, pattern.rstrip("/")) for pattern in patterns for each in candidates
    )


def output_names(names: list[str], suffix: str) -> list[str]:
    """Names of outputs: another suffix; where two would be one, both keep theirs before it.

    a.jpg, b.jpg, b.png ─► a.tic, b.jpg.tic, b.png.tic

    Names that differ in case or Unicode form only are one to some file systems, and count as one.
    """
    whole = [name + suffix for name in names]
    if not suffix:
        return whole
    short = [str(PurePosixPath(name).with_suffix(suffix)) for name in names]
    chosen = short
    while True:
        counts = Counter(map(_folded, chosen))
        better = [
            full if counts[_folded(name)] > 1 else name
            for name, full in zip(chosen, whole, strict=True)
        ]
        if better == chosen:
            return chosen
        chosen = better


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def sift(job: Job, items: list[Item]) -> Iterator[Item | Row]:
    """Of each item either itself, when it is to be done, or the row that says why it is not."""
    assert job.target is not None
    source, target = place(job.source, job.follow_links), place(job.target)
    existing = {each.name: each for each in target.files() if each.problem is None}
    wanted = None if job.action == "decode" else _wanted(job)

    def look(item: Item) -> Item | Row:
        output = existing.get(item.output)
        if output is None:
            return item
        try:
            if job.action == "encode":
                assert wanted is not None
                return _existing_tic(job, item, target, output, wanted)
            return _existing_png(job, item, source, target, output)
        except TicodecError as error:
            return Row.of(item, "failed", error=str(error))

    with ThreadPoolExecutor(LOOKING) as pool:
        yield from pool.map(look, items)


def _wanted(job: Job) -> tuple[bytes, int]:
    """Fingerprint and stored quality of the files that the job writes."""
    entry = weights.find(job.model)
    quality = entry.checked_quality(job.quality)
    return entry.fingerprint, 0 if quality is None else round(quality * QUALITY_STEPS)


def _existing_tic(
    job: Job, item: Item, target: Place, output: Found, wanted: tuple[bytes, int]
) -> Item | Row:
    """An output of encoding is up to date if it is whole, of these settings, and of this source."""
    header = None
    with contextlib.suppress(TicodecError):  # damaged, or no .tic: made again
        header = container.read(target.read(output.name), max_pixels=container.SIDE_MAX**2).header
    if (
        header is not None
        and (header.fingerprint, header.quality) == wanted
        and _same_time(item, output, target)
    ):
        return _skipped(item, header, output.size, output.size)
    if job.delete_source and header is not None and not job.replace:
        # The photo that it was made from may be gone.
        error = f"{output.name} is there, of another photo or other settings; -f replaces it"
        return Row.of(item, "failed", error=error)
    return item


def _same_time(item: Item, output: Found, target: Place) -> bool:
    """Whether an output was made from its source as it is now."""
    if item.modified is None or output.modified is None:
        return True
    if target.exact_times:  # it was given the source's own time
        whole = output.modified == int(output.modified)  # perhaps a file system without fractions
        return abs(output.modified - item.modified) <= (TIME_STEP if whole else 1e-3)
    return output.modified >= item.modified


def _existing_png(job: Job, item: Item, source: Place, target: Place, output: Found) -> Item | Row:
    """An output of decoding is up to date if its note names the file as it is now."""
    found = read_note(target.read(output.name, 0, HEAD), target.read(output.name, -len(END), None))
    if found is None:
        if job.replace:
            return item
        error = f"{output.name} is there and was not made by ticodec batch; -f replaces it"
        return Row.of(item, "failed", error=error)
    data = source.read(item.name)
    if found not in note(data).values():
        return item
    header = container.read(data, job.max_pixels).header
    return _skipped(item, header, output.size, len(data))


def _skipped(item: Item, header: Header, bytes_out: int, tic: int) -> Row:
    return Row.of(
        item,
        "skipped",
        width=header.width,
        height=header.height,
        bytes_out=bytes_out,
        bpp=tic * 8 / (header.width * header.height),
        model=_model(header),
    )


def _model(header: Header) -> str:
    """Name of the weights that wrote a file, if they are here."""
    try:
        return weights.find_fingerprint(header.fingerprint, header.model_name).name
    except TicodecError:
        return header.model_name
