"""The objects that the parts and the processes of a batch run exchange."""

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
#: What was done to a file, as messages say it.
PAST = {"encode": "encoded", "decode": "decoded", "classify": "classified"}
#: skipped: the output was up to date. failed: `error` says why. left: not begun when the run ended.
Status = Literal["done", "skipped", "failed", "left"]


def files(count: int) -> str:
    """ "1 file" or "2,000 files"."""
    return f"{count:,} file{'' if count == 1 else 's'}"


def _store() -> str:
    """$TICODEC_WEIGHTS with absolute paths, for processes that have another working directory."""
    paths = os.environ.get("TICODEC_WEIGHTS", "").split(os.pathsep)
    return os.pathsep.join(str(Path(path).absolute()) for path in paths if path)


@dataclass(frozen=True)
class Job:
    """What is to be done to every file of a run.

    Args:
        source, target: paths or URLs, as `storage.place` takes them. A job that classifies has no
            target.
        model, quality, effort: how to encode. If `quality` is a target, it holds for each photo.
        weights: fingerprint that the model's weights must have on every node, or "" for any.
        reading: how to read the photos.
        head: path of a classifier file, or None for the model's own classifier.
        top: number of labels per file.
        format, output_quality: of decoded images, see `writers`.
        device: where the network runs.
        delete_source: delete an image after its `.tic` file was decoded and checked.
        replace: overwrite outputs that are not up to date, whatever they are.
        threads: threads of each worker. The last bits of a result may depend on them.
        store: the command's $TICODEC_WEIGHTS, which workers on other nodes get too.
        memory: the most bytes that a worker may use, or None for all that is free.
        parts, part: the machine's memory is divided into `parts` parts of `part` bytes. A worker
            asks for several parts before it codes a photo that needs more than one, see `parts`.
            If `part` is None, it never asks.
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
        name: its path below the source.
        output: path of its output below the target.
        size: its size in bytes.
        modified: its time of modification in seconds since 1970, or None if unknown.
        permissions: permissions for its output, as `files.permissions_of` gives them, or None if
            unknown.
        retry: whether a worker died while it had this item.
        verify: whether its output is up to date, so that only the check and the deletion of the
            source are left to do.
        there: the existing file that its output may replace, or None if there is none.
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
        file, output: paths below the source and the target.
        bytes_in, bytes_out: their sizes in bytes.
        bpp: bits per pixel of the `.tic` file.
        quality: quality of that file, 1 … 8, or None if its weights have one fixed λ.
        psnr: PSNR of the decoded `.tic` file in dB. None unless it was encoded for a PSNR or
            verified.
        ms_ssim: its MS-SSIM in dB. None unless it was encoded for an MS-SSIM.
        seconds: time spent on the file. Files that are coded together share their time equally.
        labels: pairs of label and probability, the most probable first.
        retried: whether a worker died while it had this file.
        checked: whether its output was up to date, so that it was only checked before its source
            is deleted.
        deleted: whether its source was deleted.
        kept: why its source was not deleted although the job asks for it.
        notes: what the user should know about the file.
        fatal: whether every other file would fail for the same reason.
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
    checked: bool = False
    deleted: bool = False
    kept: str = ""
    notes: list[Note] = field(default_factory=list)
    fatal: bool = False

    @classmethod
    def of(cls, item: Item, status: Status, **more: Any) -> Row:
        """The row of an item."""
        facts: dict[str, Any] = {
            "modified": item.modified,
            "retried": item.retry,
            "checked": item.verify,
        }
        facts |= {"bytes_in": item.size} | more
        return cls(item.name, item.output, status, **facts)

    @classmethod
    def left(cls, item: Item) -> Row:
        """The row of an item that was not begun, or perhaps not finished, when the run ended."""
        return cls.of(item, "left", error="not done, because the run ended first")
