"""Decides which existing outputs of a run are up to date, and which may be replaced.

item ─► its output exists? ─┬─► no, or it was made from an older version of the source ─► item
                            ├─► up to date ─► row: skipped
                            ├─► it belongs to another photo ─► item, with its other name
                            └─► unknown which photo it belongs to ─► row: failed

Each output says what it was made from (`provenance`). There is no other state. In doubt both files
are kept, because the photo of a `.tic` file may be gone.
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

#: How many outputs are looked up at once. Most of the time is spent waiting for the store.
LOOKING = 16
#: The coarsest step of a file system's times, in seconds (FAT).
TIME_STEP = 2.0
#: Why `encode` leaves out a picture.
DECODED = Note("decoded", "left out, because batch decode made it from a .tic file", lost=False)
#: What messages tell the user to do about an output that stays.
OVERWRITES = "`replace` overwrites it"


def sift(job: Job, items: list[Item], skip: bool) -> Iterator[Item | Row]:
    """Yields every item that is to be done. For any other item, yields a row that says why not.

    An output that something else made is replaced only if the job allows it (`Job.replace`).

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
    """The source and the target of a job, and what the target already contains."""

    def __init__(self, job: Job) -> None:
        assert job.target is not None
        self.job = job
        self.source, self.target = place(job.source, job.follow_links), place(job.target)
        # In a store, listing a thousand files costs as much as looking up one. A local folder is
        # not listed, because links in it or names that differ only in case could hide an output.
        local = isinstance(self.target, Local)
        self.listed = None if local else {file.name: file for file in self.target.files()}

    def found(self, name: str) -> Found | None:
        """The output with that name, or None if it does not exist."""
        return self.target.look(name) if self.listed is None else self.listed.get(name)

    def in_the_way(self, item: Item, output: Found) -> Row | None:
        """A failed row if the file that has the name of an item's output must stay, else None."""
        if isinstance(self.source, Local) and isinstance(self.target, Local):
            written, read = self.target.root / output.name, self.source.root / item.name
            if os.path.realpath(written) == os.path.realpath(read):
                error = f"{output.name} is a link to its own source"
                return Row.of(item, "failed", error=error)
        if output.problem is not None:
            return Row.of(item, "failed", error=f"{output.name} exists: {output.problem}")
        return None

    def overlap(self) -> bool:
        """Whether the target may be in the source folder, or the source in the target folder."""
        if isinstance(self.source, Local) and isinstance(self.target, Local):
            if self.source.only:
                return False
            one, other = (Path(os.path.realpath(at.root)) for at in (self.source, self.target))
            return one == other or one in other.parents or other in one.parents
        one_url, other_url = (at.url.rstrip("/") + "/" for at in (self.source, self.target))
        return one_url.startswith(other_url) or other_url.startswith(one_url)


class Decoding(Places):
    """Looks for existing images of `.tic` files."""

    def look(self, item: Item) -> Item | Row:
        """The item if its image is to be written, else a row.

        An image is up to date if its mark names the `.tic` file as it is now. An image without
        a mark was not made by `batch decode`, and is replaced only if the job allows it.
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
            text = f"{output.name} exists and was not made by ticodec batch"
            error = f"{text}; choose another target, or {OVERWRITES}"
            return Row.of(item, "failed", error=error)
        data = self.source.read(item.name)
        if mark != mark_of(data, writer_of(job.format).checked_quality(job.output_quality)):
            return item
        header = container.read(data, job.max_pixels).header
        return _skipped(item, header, output.size, len(data))


class Owner(Enum):
    """The photo to which a `.tic` file belongs.

    NONE: no photo, because there is no such file or it is damaged. THIS: the photo that is looked
    at. OTHER: another photo. DELETED: a photo that a run was going to delete. Such a file is never
    replaced.
    """

    NONE, THIS, OTHER, DELETED = range(4)


class Encoding(Places):
    """Looks for existing `.tic` files of photos."""

    def __init__(self, job: Job, items: list[Item], skip: bool) -> None:
        super().__init__(job)
        self.skip = skip
        entry = job.entry()
        self.fingerprint = entry.fingerprint
        #: The job's target as `target_text` writes it, or "" if the job has a quality. `stored` is
        #: that quality as headers store it.
        self.for_target, self.stored = target_text(job.quality), 0
        if not isinstance(job.quality, Target):
            quality = checked_quality(entry, job.quality)
            self.stored = 0 if quality is None else round(quality * QUALITY_STEPS)
        self.taken = {folded(item.output) for item in items}
        self.nested = self.overlap()

    def look(self, item: Item) -> Item | Row:
        """The item with the name of the `.tic` file to write, or a row that says why there is none.

        A photo's `.tic` file has one of two names, with or without the photo's suffix before
        `.tic`. If the `.tic` file of another photo has one name, it stays, and this photo gets the
        other name. A picture that was decoded from a `.tic` file is left out if encoding it could
        replace that `.tic` file.
        """
        whole, short = item.name + TIC, str(PurePosixPath(item.name).with_suffix(TIC))
        outcomes: list[tuple[Item, Row | Owner]] = []
        there = False
        for name in dict.fromkeys([item.output, whole, short]):
            output, sure = self.found(name), name != item.output
            there |= output is not None
            if sure and folded(name) in self.taken:
                continue  # another photo of this run gets this name
            named = replace(item, output=name, there=output)
            owner = Owner.NONE if output is None else self._owner(named, output, sure)
            if isinstance(owner, Row) and owner.status == "skipped":
                return owner
            outcomes.append((named, owner))
        if (there or self.nested) and _mark(self.source, item.name, item.size) is not None:
            return Row.of(item, "skipped", bytes_in=0, notes=[DECODED])
        planned, first = outcomes[0]
        if isinstance(first, Row):
            return first
        for named, owner in outcomes:
            if owner is Owner.THIS:
                return named
        if first is Owner.NONE or (self.job.replace and first is not Owner.DELETED):
            return planned
        for named, owner in outcomes:
            if named.output == whole and owner is Owner.NONE:
                return named
        error = f"{item.output} exists and belongs to another photo; {OVERWRITES}"
        if first is Owner.DELETED:
            error = f"{item.output} exists and may be all that is left of a photo; move it away"
        return Row.of(item, "failed", error=error)

    def _owner(self, item: Item, output: Found, sure: bool) -> Row | Owner:
        """The owner of the file in the place of an item's output, or a row.

        The row says that the file is up to date, or that it stays and the photo has failed.

        An output is up to date if it is undamaged, has the photo's time, suffix and size (as far as
        it stores them), and has the job's settings, see `_other_settings`. A damaged output is
        replaced, and so is an output of an older version of the same photo. Three kinds of files
        are replaced only if the job allows it:
        - a file that is not a `.tic` file of this version,
        - a file that is newer than its photo,
        - if sources are deleted, a file with other settings, because it may be wanted.

        Args:
            sure: if true, the file must say that it was made from this photo. If false, a file that
                does not say what it was made from may belong to this photo.
        """
        if row := self.in_the_way(item, output):
            return row
        data = self.target.read(output.name)
        try:
            file = container.read(data, NO_LIMIT)
        except TicodecError as error:
            if not data or (container.is_tic(data) and "version" not in str(error)):
                return Owner.NONE
            text = f"{output.name} exists and is not a .tic file of this version; {OVERWRITES}"
            return Owner.OTHER if self.job.replace else Row.of(item, "failed", error=text)
        header, origin = file.header, origin_of(file)
        same, newer = _times(item, output, self.target)
        if origin is None:
            if sure:
                return Owner.OTHER
        elif origin.suffix != PurePosixPath(item.name).suffix:
            return Owner.DELETED if origin.deleted else Owner.OTHER
        elif item.size:  # some stores do not report the size
            same = same and origin.size == item.size
        other = self._other_settings(header, origin)
        deleted = origin is not None and origin.deleted
        # Without the photo's time, the next photo of a series can look the same.
        surely = same and self.target.exact_times
        if same and not other and (self.skip or surely or not deleted):
            return _skipped(item, header, output.size, output.size)
        if deleted and not surely:
            return Owner.DELETED
        known = origin is not None or self.target.exact_times
        if self.job.replace or (same and known and not self.job.delete_source):
            return Owner.THIS
        if same:
            return Row.of(item, "failed", error=f"{output.name} exists, but {other}")
        if newer:
            why = "is newer than the photo"
            if origin is None:
                why += ", and does not say which photo it was made from"
            text = f"{output.name} exists and {why}; move it away, or {OVERWRITES}"
            return Row.of(item, "failed", error=text)
        # The photo of this file may be gone: sources are deleted, or the file names no photo.
        return Owner.OTHER if origin is None or self.job.delete_source else Owner.THIS

    def _other_settings(self, header: Header, origin: Origin | None) -> str:
        """How a photo's `.tic` file differs from what the job would write, and what to do about it.

        Returns "" if the file is good enough. A file that was encoded with more effort is good
        enough, and so is a file that was encoded for a target and has the job's quality.
        """
        origin = origin or Origin("", 0, False)
        if header.fingerprint != self.fingerprint:
            name = _model(header)
            return f"was written by {name}; `model` {name} keeps it, {OVERWRITES}"
        if self.for_target and origin.target != self.for_target:
            return f"was encoded for {origin.target or 'a quality'}; {OVERWRITES}"
        if not self.for_target and header.quality != self.stored:
            quality = f"{header.quality / QUALITY_STEPS:g}"
            return f"has quality {quality}; `quality` {quality} keeps it, {OVERWRITES}"
        if origin.left_out != self.job.reading.left_out:
            return f"has other metadata; {OVERWRITES}"
        # If sources are deleted and the target does not keep exact times, photos are encoded again
        # and compared with the file. A file that was encoded with more effort would not be equal.
        anew = self.job.delete_source and not self.target.exact_times
        if origin.effort < self.job.effort or (anew and origin.effort != self.job.effort):
            keeps = f"`effort` {origin.effort} keeps it, {OVERWRITES}"
            return f"was encoded with effort {origin.effort}; {keeps}"
        return ""


def _times(item: Item, output: Found, target: Place) -> tuple[bool, bool]:
    """Whether an output has the time of its source, and whether it is newer than its source."""
    if item.modified is None or output.modified is None:
        return True, False
    if not target.exact_times:
        return output.modified >= item.modified, False
    # The output was given the source's time. Its file system may store only whole seconds.
    whole = output.modified == int(output.modified) and item.modified != int(item.modified)
    step = TIME_STEP if whole else 1e-3
    same = abs(output.modified - item.modified) <= step
    return same, not same and output.modified > item.modified


def _mark(where: Place, name: str, size: int) -> str | None:
    """The mark of the image `name`, see `read_mark`."""
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
    """The name of the weights that wrote a file, or of the model if they are not installed."""
    try:
        return weights.of(header).name
    except TicodecError:
        return header.model_name
