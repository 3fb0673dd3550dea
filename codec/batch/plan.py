"""What a run has to do: which files, the names of their outputs, which outputs are up to date.

SRC ─► list ─► suffix, include, exclude ─► names of outputs ─► up to date? ─┬─► items to do
                                                                            └─► rows: skipped
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from ticodec import container, weights
from ticodec.container import QUALITY_STEPS, Header
from ticodec.errors import TicodecError, UsageError
from ticodec.image_files import SUFFIXES
from ticodec.quality import checked_quality
from ticodec.writers import writer_of

from .messages import Action, Item, Job, Row
from .provenance import note_of, read_note
from .storage import Found, Local, Place, place

TIC = ".tic"
INPUTS: dict[Action, set[str]] = {
    "encode": SUFFIXES,
    "decode": {TIC},
    "classify": SUFFIXES | {TIC},
}
#: How many outputs are looked up at once; most of that time is waiting for the store.
LOOKING = 16
#: The coarsest step of a file system's times, in seconds (FAT).
TIME_STEP = 2.0


@dataclass
class Plan:
    """The files to do, and the rows of files that cannot be done.

    `others`: how many files the job leaves out, by their suffix or by its patterns.
    """

    items: list[Item] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    others: int = 0


def check(job: Job, dry: bool = False) -> None:
    """Raises TicodecError for a job that no worker could do. Loads no network.

    Unless `dry`, it also makes the target ready for writing.
    """
    source = place(job.source)
    if not source.exists():
        raise UsageError(f"{job.source}: there is nothing of that name")
    if job.delete_source and not isinstance(source, Local):
        raise UsageError(f"{job.source}: only files of this machine can be deleted after a check")
    if job.action != "decode":
        checked_quality(job.entry(), job.quality)
    else:
        writer_of(job.format).checked_quality(job.output_quality)
    if job.head is not None:
        weights.read_head(Path(job.head), None)
    if job.target is not None and not dry:
        place(job.target).prepare()


def make_plan(job: Job, include: list[str], exclude: list[str]) -> Plan:
    """List the source and name the outputs; reads no file. Raises TicodecError."""
    plan, inputs = Plan(), []
    for file in place(job.source, job.follow_links).files():
        suffix = PurePosixPath(file.name).suffix.lower()
        if suffix in INPUTS[job.action] or file.name.endswith("/"):
            inputs.append(file)
        else:
            plan.others += 1
    inputs.sort(key=lambda file: file.name)
    # Every input gets a name before the patterns apply: names must not depend on them.
    outputs = output_names([file.name for file in inputs], _suffix(job))
    for file, output in zip(inputs, outputs, strict=True):
        if (include and not _matches(file.name, include)) or _matches(file.name, exclude):
            plan.others += 1
        elif file.problem is not None:
            plan.rows.append(Row(file.name, "", "failed", error=file.problem))
        else:
            plan.items.append(Item(file.name, output, file.size, file.modified))
    return plan


def _suffix(job: Job) -> str:
    """The suffix of a job's outputs; "" for labels, which go into one table."""
    if job.action == "decode":
        return writer_of(job.format).suffixes[0]
    return TIC if job.action == "encode" else ""


def _matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a pattern matches a file's path, its name, or the path or name of a folder above."""
    path = PurePosixPath(name)
    candidates = [name, path.name, *map(str, path.parents), *(p.name for p in path.parents)]
    return any(
        fnmatchcase(candidate, pattern.rstrip("/"))
        for pattern in patterns
        for candidate in candidates
    )


def output_names(names: list[str], suffix: str) -> list[str]:
    """Names of outputs: `suffix` replaces the input's. Where two outputs would share a name, both
    keep their old suffix before the new one.

    a.jpg, b.jpg, b.png ─► a.tic, b.jpg.tic, b.png.tic

    Names that differ only in case or Unicode form count as one, as for some file systems.
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


def sift(job: Job, items: list[Item], skip: bool) -> Iterator[Item | Row]:
    """Yields every item that is to be done; for any other, a row that says why it is not.

    Args:
        skip: leave out what is up to date. An output that someone else made is never replaced,
            unless the job says so.
    """
    assert job.target is not None
    source, target = place(job.source, job.follow_links), place(job.target)
    # For a store, listing a thousand files costs as much as looking up one. A local folder is not
    # listed: links in it, or names that differ only in case, could hide an output.
    listed = None if isinstance(target, Local) else {file.name: file for file in target.files()}
    wanted = None if job.action == "decode" else _wanted(job)

    def look(item: Item) -> Item | Row:
        try:
            output = listed.get(item.output) if listed is not None else target.look(item.output)
            if output is None:
                return item
            if _is_source(item, source, target):
                error = f"{item.output} is a link to its own source"
                return Row.of(item, "failed", error=error)
            if output.problem is not None:
                return Row.of(item, "failed", error=f"{item.output} is there: {output.problem}")
            if job.action == "encode":
                assert wanted is not None
                outcome = _existing_tic(job, item, target, output, wanted)
            else:
                outcome = _existing_image(job, item, source, target, output)
        except TicodecError as error:
            return Row.of(item, "failed", error=str(error))
        if isinstance(outcome, Row) and outcome.status == "skipped":
            if not skip:
                return item
            if job.delete_source:
                return replace(item, verify=True)
        return outcome

    with ThreadPoolExecutor(LOOKING) as pool:
        yield from pool.map(look, items)


def _is_source(item: Item, source: Place, target: Place) -> bool:
    """Whether writing an item's output would replace the file that it is made of."""
    if not isinstance(source, Local) or not isinstance(target, Local):
        return False
    written, read = target.root / item.output, source.root / item.name
    return os.path.realpath(written) == os.path.realpath(read)


def _wanted(job: Job) -> tuple[bytes, int]:
    """Fingerprint and stored quality of the files that the job writes."""
    entry = job.entry()
    quality = checked_quality(entry, job.quality)
    return entry.fingerprint, 0 if quality is None else round(quality * QUALITY_STEPS)


def _existing_tic(
    job: Job, item: Item, target: Place, output: Found, wanted: tuple[bytes, int]
) -> Item | Row:
    """The item if its `.tic` is to be written, else a row that says why not.

    An output is up to date if it is whole and has the job's weights and quality and the photo's
    time. Otherwise it is written again. Three kinds are only replaced if the job says so: a file
    that is no `.tic` of this version; any other photo or settings when sources are deleted, since
    the photo may be gone; an output newer than its photo.
    """
    data = target.read(output.name)
    header = None
    try:
        header = container.read(data, max_pixels=container.SIDE_MAX**2).header
    except TicodecError as error:
        foreign = bool(data) and (not container.is_tic(data) or "version" in str(error))
        if foreign and not job.replace:
            text = f"{output.name} is there and is no .tic of this version; `replace` overwrites it"
            return Row.of(item, "failed", error=text)
    same, newer = _times(item, output, target)
    if header is not None and (header.fingerprint, header.quality) == wanted and same:
        return _skipped(item, header, output.size, output.size)
    if header is not None and not job.replace:
        if job.delete_source:  # the photo of this output may be gone
            text = f"{output.name} is there, of another photo or settings; `replace` overwrites it"
            if header.fingerprint != wanted[0]:
                name = _model(header)
                text = (
                    f"{output.name} is there, written by {name}; `model` {name} goes on with it, "
                    "`replace` overwrites it"
                )
            return Row.of(item, "failed", error=text)
        if newer:
            text = f"{output.name} is there, of a newer photo or copied; `replace` overwrites it"
            return Row.of(item, "failed", error=text)
    return item


def _times(item: Item, output: Found, target: Place) -> tuple[bool, bool]:
    """Whether an output has the time of its source, and whether it is newer than that."""
    if item.modified is None or output.modified is None:
        return True, False
    if not target.exact_times:
        return output.modified >= item.modified, False
    # The output was given the source's time, perhaps on a file system without fractions.
    whole = output.modified == int(output.modified) and item.modified != int(item.modified)
    step = TIME_STEP if whole else 1e-3
    same = abs(output.modified - item.modified) <= step
    return same, not same and output.modified > item.modified


def _existing_image(
    job: Job, item: Item, source: Place, target: Place, output: Found
) -> Item | Row:
    """The item if its image is to be written, else a row.

    An image is up to date if its note names the `.tic` file as it is now. One without a note is
    someone else's, and only replaced if the job says so.
    """
    note = read_note(lambda start, end: target.read(output.name, start, end))
    if note is None:
        if job.replace:
            return item
        error = f"{output.name} is there and was not made by ticodec batch; `replace` overwrites it"
        return Row.of(item, "failed", error=error)
    data = source.read(item.name)
    quality = writer_of(job.format).checked_quality(job.output_quality)
    if note != note_of(data, quality):
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
    """The name of the weights that wrote a file, or of their architecture if they are not here."""
    try:
        return weights.of(header).name
    except TicodecError:
        return header.model_name
