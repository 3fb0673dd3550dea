"""What travels between the parts of a batch run, and between its processes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ticodec.container import MAX_PIXELS
from ticodec.effort import USUAL_EFFORT
from ticodec.memory import limit
from ticodec.notes import Note
from ticodec.reading.options import PLAIN, Reading
from ticodec.targets import Quality
from ticodec.weights import Entry, find_for

from .storage import Found

Action = Literal["encode", "decode", "classify"]
#: What was done to a file, in messages.
PAST = {"encode": "encoded", "decode": "decoded", "classify": "classified"}
#: skipped: the output was up to date; failed: `error` says why; left: not begun when the run ended.
Status = Literal["done", "skipped", "failed", "left"]


def files(count: int) -> str:
    """ "1 file" or "2,000 files"."""
    return f"{count:,} file{'' if count == 1 else 's'}"


def _store() -> str:
    """$TICODEC_WEIGHTS with absolute paths, for processes with another working directory."""
    paths = os.environ.get("TICODEC_WEIGHTS", "").split(os.pathsep)
    return os.pathsep.join(str(Path(path).absolute()) for path in paths if path)


@dataclass(frozen=True)
class Job:
    """What is to be done to every file of a run.

    Args:
        source, target: paths or URLs, as `storage.place` takes them; no target when classifying.
        model, quality, effort: for encoding. A target is that of each photo.
        reading: of the photos. head, top: for labels.
        weights: fingerprint that the model's weights must have on every node; "": any.
        format, output_quality: of decoded images, see `writers`.
        device: of the network. threads: of one worker; the last bits of a result may depend on it.
        delete_source: delete an image once its `.tic` file is decoded and checked.
        replace: overwrite outputs that are not up to date, whatever they are.
        store: the command's $TICODEC_WEIGHTS, which workers on other nodes get too.
        memory: the most that a worker may use, in bytes; None: what is free.
        parts, part: a photo that needs more than `part` bytes asks for several of the `parts` of
            the machine before it is coded, see `parts`. None: it never asks.
    """

    action: Action
    source: str
    target: str | None = None
    follow_links: bool = False
    model: str | None = None
    weights: str = ""
    quality: Quality = None
    effort: int = USUAL_EFFORT
    reading: Reading = PLAIN
    head: str | None = None
    top: int = 1
    format: str = "png"
    output_quality: int | None = None
    device: str = "auto"
    max_pixels: int = MAX_PIXELS
    delete_source: bool = False
    replace: bool = False
    threads: int = 1
    store: str = field(default_factory=_store)
    memory: int | None = field(default_factory=limit)
    parts: int = 1
    part: int | None = None

    def entry(self) -> Entry:
        """The weights that images are encoded with. Raises as `find_for` does."""
        return find_for(self.model, None if self.head is None else Path(self.head))


@dataclass(frozen=True)
class Item:
    """One file to do.

    Args:
        name, output: its path below the source, and its output's below the target.
        size: in bytes. modified: seconds since 1970, if known.
        permissions: of its output, as `files.permissions_of` gives them, if known.
        retry: whether a worker that had it died.
        verify: whether its output exists, so that only a check and deleting the source are left.
        there: the file that its output may replace; None: there was none.
    """

    name: str
    output: str
    size: int = 0
    modified: float | None = None
    permissions: int | None = None
    retry: bool = False
    verify: bool = False
    there: Found | None = None


@dataclass
class Row:
    """What became of one file.

    Args:
        file, output: paths below the source and the target. bytes_in, bytes_out: their sizes.
        bpp: bits of the .tic file per pixel. quality: of that file, 1 … 8; None: of one fixed λ.
        psnr: in dB, of what the .tic file decodes to, if it was encoded for one, or verified.
        ms_ssim: in dB, if it was encoded for one.
        seconds: of work on the file; files that are coded together share their time equally.
        labels: (label, probability), the most probable first.
        retried: whether a worker died with it before. deleted: whether its source was deleted.
        kept: why its source was not deleted although the job says so.
        notes: what its user should know of it.
        fatal: whether every other file would fail too.
    """

    file: str
    output: str
    status: Status
    error: str = ""
    width: int = 0
    height: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    bpp: float | None = None
    quality: float | None = None
    psnr: float | None = None
    ms_ssim: float | None = None
    seconds: float = 0.0
    model: str = ""
    modified: float | None = None
    labels: list[tuple[str, float]] = field(default_factory=list)
    retried: bool = False
    deleted: bool = False
    kept: str = ""
    notes: list[Note] = field(default_factory=list)
    fatal: bool = False

    @classmethod
    def of(cls, item: Item, status: Status, **more: Any) -> Row:
        """The row of an item."""
        modified, retried = item.modified, item.retry
        size = {"bytes_in": item.size} | more
        return cls(item.name, item.output, status, modified=modified, retried=retried, **size)

    @classmethod
    def left(cls, item: Item) -> Row:
        """The row of an item that was not begun, or not known to be done, when the run ended."""
        return cls.of(item, "left", error="not done: the run ended before")
