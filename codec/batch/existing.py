"""Outputs of a run that exist already: which are up to date, which may be replaced.

item ─► its output is there? ─┬─► no, or of an earlier state of its source ─► item, to be done
                              ├─► up to date ─► row: skipped
                              ├─► of another photo ─► item, under its other name
                              └─► nobody knows whose ─► row: failed

The outputs themselves say what they were made from (`provenance`); there is no other state. When in
doubt both files are kept, since the photo of a `.tic` may be gone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from enum import Enum
from pathlib import Path, PurePosixPath

from ticodec import container, weights
from ticodec.container import QUALITY_STEPS, Header
from ticodec.errors import TicodecError
from ticodec.notes import Note
from ticodec.quality import checked_quality
from ticodec.targets import Target
from ticodec.writers import writer_of

from .loaded import quality_of
from .messages import Item, Job, Row
from .plan import TIC, folded
from .provenance import NO_LIMIT, Origin, mark_of, origin_of, read_mark, target_text
from .storage import Found, Local, Place, place

#: How many outputs are looked up at once: most of the time goes into waiting for the store.
LOOKING = 16
#: The coarsest step of a file system's times, in seconds (FAT).
TIME_STEP = 2.0
#: Why a picture is left out by `encode`.
DECODED = Note("decoded", "left out, since batch decode made it of a .tic file", lost=False)
#: What messages say that the user may do about an output that stays.
OVERWRITES = "`replace` overwrites it"


def sift(job: Job, items: list[Item], skip: bool) -> Iterator[Item | Row]:
    """Yields every item that is to be done; for any other a row that says why it is not.

    An output that someone else made is never replaced, unless the job says so.

    Args:
        skip: leave out what is up to date.
    """
    sifter = Encoding(job, items, skip) if job.action == "encode" else Decoding(job)

    def look(item: Item) -> Item | Row:
        try:
            outcome = sifter.look(item)
        except TicodecError as error:
            return Row.of(item, "failed", error=str(error))
        if isinstance(outcome, Row) and outcome.status == "skipped" and not outcome.notes:
            item = replace(item, output=outcome.output, there=sifter.found(outcome.output))
            if not skip:
                return item
            if job.delete_source:
                return replace(item, verify=True)
        return outcome

    with ThreadPoolExecutor(LOOKING) as pool:
        yield from pool.map(look, items)


class Places:
    """The source and the target of a job, and what is in the target."""

    def __init__(self, job: Job) -> None:
        assert job.target is not None
        self.job = job
        self.source, self.target = place(job.source, job.follow_links), place(job.target)
        # For a store, listing a thousand files costs as much as looking up one. A local folder is
        # not listed: links in it, or names that differ only in case, could hide an output.
        local = isinstance(self.target, Local)
        self.listed = None if local else {file.name: file for file in self.target.files()}

    def found(self, name: str) -> Found | None:
        """The output of that name, if it is there."""
        return self.target.look(name) if self.listed is None else self.listed.get(name)

    def in_the_way(self, item: Item, output: Found) -> Row | None:
        """A row when an item's output cannot be written, since what is in its place must stay."""
        if isinstance(self.source, Local) and isinstance(self.target, Local):
            written, read = self.target.root / output.name, self.source.root / item.name
            if os.path.realpath(written) == os.path.realpath(read):
                error = f"{output.name} is a link to its own source"
                return Row.of(item, "failed", error=error)
        if output.problem is not None:
            return Row.of(item, "failed", error=f"{output.name} is there: {output.problem}")
        return None

    def overlap(self) -> bool:
        """Whether files of the target may be below the source, or the other way round."""
        if isinstance(self.source, Local) and isinstance(self.target, Local):
            if self.source.only:
                return False
            one, other = (Path(os.path.realpath(at.root)) for at in (self.source, self.target))
            return one == other or one in other.parents or other in one.parents
        one_url, other_url = (at.url.rstrip("/") + "/" for at in (self.source, self.target))
        return one_url.startswith(other_url) or other_url.startswith(one_url)


class Decoding(Places):
    """Looks for the images of `.tic` files."""

    def look(self, item: Item) -> Item | Row:
        """The item if its image is to be written, else a row.

        An image is up to date if its mark names the `.tic` file as it is now. One without a mark
        is someone else's, and only replaced if the job says so.
        """
        output, job = self.found(item.output), self.job
        if output is None:
            return item
        item = replace(item, there=output)
        if row := self.in_the_way(item, output):
            return row
        mark = _mark(self.target, output.name, output.size)
        if mark is None:
            if job.replace:
                return item
            error = f"{output.name} is there and was not made by ticodec batch; {OVERWRITES}"
            return Row.of(item, "failed", error=error)
        data = self.source.read(item.name)
        if mark != mark_of(data, writer_of(job.format).checked_quality(job.output_quality)):
            return item
        header = container.read(data, job.max_pixels).header
        return _skipped(item, header, output.size, len(data))


class Whose(Enum):
    """Of which photo a `.tic` file is: of none, of the one that is looked at, of another, or of one
    that a run deleted: then it is never replaced."""

    NOBODY, MINE, OTHER, DELETED = range(4)


class Encoding(Places):
    """Looks for the `.tic` files of photos."""

    def __init__(self, job: Job, items: list[Item], skip: bool) -> None:
        super().__init__(job)
        self.skip = skip
        entry = job.entry()
        self.fingerprint = entry.fingerprint
        #: The job's target, as `target_text` says it; "": a quality, which `stored` has.
        self.for_target, self.stored = target_text(job.quality), 0
        if not isinstance(job.quality, Target):
            quality = checked_quality(entry, job.quality)
            self.stored = 0 if quality is None else round(quality * QUALITY_STEPS)
        self.taken = {folded(item.output) for item in items}
        self.nested = self.overlap()

    def look(self, item: Item) -> Item | Row:
        """The item, with the name of the `.tic` to write; or a row that says why none is written.

        A photo's `.tic` has one of two names, with or without the photo's suffix before its own.
        If a `.tic` of another photo has one name, it stays, and this photo gets the other name.
        A picture that was decoded from a `.tic` is left out where its `.tic` could replace that.
        """
        whole, short = item.name + TIC, str(PurePosixPath(item.name).with_suffix(TIC))
        outcomes: list[tuple[Item, Row | Whose]] = []
        there = False
        for name in dict.fromkeys([item.output, whole, short]):
            output, sure = self.found(name), name != item.output
            there |= output is not None
            if sure and folded(name) in self.taken:
                continue  # another photo of this run gets it
            named = replace(item, output=name, there=output)
            whose = Whose.NOBODY if output is None else self._whose(named, output, sure)
            if isinstance(whose, Row) and whose.status == "skipped":
                return whose
            outcomes.append((named, whose))
        if (there or self.nested) and _mark(self.source, item.name, item.size) is not None:
            return Row.of(item, "skipped", bytes_in=0, notes=[DECODED])
        planned, first = outcomes[0]
        if isinstance(first, Row):
            return first
        for named, whose in outcomes:
            if whose is Whose.MINE:
                return named
        if first is Whose.NOBODY or (self.job.replace and first is not Whose.DELETED):
            return planned
        for named, whose in outcomes:
            if named.output == whole and whose is Whose.NOBODY:
                return named
        error = f"{item.output} is there, of another photo; {OVERWRITES}"
        if first is Whose.DELETED:
            error = f"{item.output} is there, and may be all that is left of a photo; move it away"
        return Row.of(item, "failed", error=error)

    def _whose(self, item: Item, output: Found, sure: bool) -> Row | Whose:
        """Whose the file is in the place of an item's output; a row if it stays, or is up to date.

        An output is up to date if it is whole, has the photo's time, suffix and size, as far as it
        says these, and the job's settings, see `_other_settings`. A damaged output is replaced, and
        so is one of an earlier state of the same photo. Three kinds are only replaced if the job
        says so: a file that is no `.tic` of this version; when sources are deleted, one of
        other settings, since it may be wanted; one that is newer than its photo.

        Args:
            sure: whether a file counts as this photo's only if it says so.
        """
        if row := self.in_the_way(item, output):
            return row
        data = self.target.read(output.name)
        try:
            file = container.read(data, NO_LIMIT)
        except TicodecError as error:
            if not data or (container.is_tic(data) and "version" not in str(error)):
                return Whose.NOBODY
            text = f"{output.name} is there and is no .tic of this version; {OVERWRITES}"
            return Whose.OTHER if self.job.replace else Row.of(item, "failed", error=text)
        header, origin = file.header, origin_of(file)
        same, newer = _times(item, output, self.target)
        if origin is None:
            if sure:
                return Whose.OTHER
        elif origin.suffix != PurePosixPath(item.name).suffix:
            return Whose.DELETED if origin.deleted else Whose.OTHER
        elif item.size:  # some stores do not say it
            same = same and origin.size == item.size
        other = self._other_settings(header, origin)
        deleted = origin is not None and origin.deleted
        # Without a time of the photo, the next one of a series can look the same.
        surely = same and self.target.exact_times
        if same and not other and (self.skip or surely or not deleted):
            return _skipped(item, header, output.size, output.size)
        if deleted and not surely:
            return Whose.DELETED
        known = origin is not None or self.target.exact_times
        if self.job.replace or (same and known and not self.job.delete_source):
            return Whose.MINE
        if same:
            return Row.of(item, "failed", error=f"{output.name} is there, {other}")
        if newer:
            whose = "of a newer photo or copied"
            if origin is None:
                whose = "newer than the photo, and does not say whose it is: only batch notes that"
            text = f"{output.name} is there, {whose}; move it away, or {OVERWRITES}"
            return Row.of(item, "failed", error=text)
        # If sources are deleted, or if it does not say of which photo it is, that may be gone.
        return Whose.OTHER if origin is None or self.job.delete_source else Whose.MINE

    def _other_settings(self, header: Header, origin: Origin | None) -> str:
        """How a `.tic` of the photo differs from what the job would write, and what to do about it.

        "" if it will do: also one that was encoded with more effort, and one that was encoded for a
        target and has the job's quality.
        """
        origin = origin or Origin("", 0, False)
        if header.fingerprint != self.fingerprint:
            name = _model(header)
            return f"written by {name}; `model` {name} goes on with it, {OVERWRITES}"
        if self.for_target and origin.target != self.for_target:
            return f"encoded for {origin.target or 'a quality'}; {OVERWRITES}"
        if not self.for_target and header.quality != self.stored:
            return f"of another quality; {OVERWRITES}"
        if origin.left_out != self.job.reading.left_out:
            return f"with other metadata; {OVERWRITES}"
        # Here photos are encoded anew and compared: a file of more effort would not be the same.
        anew = self.job.delete_source and not self.target.exact_times
        if origin.effort < self.job.effort or (anew and origin.effort != self.job.effort):
            goes_on = f"`effort` {origin.effort} goes on with it, {OVERWRITES}"
            return f"encoded with effort {origin.effort}; {goes_on}"
        return ""


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


def _mark(where: Place, name: str, size: int) -> str | None:
    """The mark of an image, see `read_mark`."""
    return read_mark(lambda start, end: where.read(name, start, end), size)


def _skipped(item: Item, header: Header, bytes_out: int, tic: int) -> Row:
    return Row.of(
        item,
        "skipped",
        width=header.width,
        height=header.height,
        bytes_out=bytes_out,
        bpp=tic * 8 / (header.width * header.height),
        quality=quality_of(header),
        model=_model(header),
    )


def _model(header: Header) -> str:
    """The name of the weights that wrote a file, or of their architecture if they are not here."""
    try:
        return weights.of(header).name
    except TicodecError:
        return header.model_name
