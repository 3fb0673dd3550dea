"""What travels between the parts of a batch run, and between its processes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ticodec.container import MAX_PIXELS

Action = Literal["encode", "decode", "classify"]
#: What was done to a file, in messages.
PAST = {"encode": "encoded", "decode": "decoded", "classify": "classified"}
#: done; skipped: was up to date; failed: why is in `error`; left: never begun.
Status = Literal["done", "skipped", "failed", "left"]


def _store() -> str:
    """$TICODEC_WEIGHTS as a process with another working directory needs it."""
    paths = os.environ.get("TICODEC_WEIGHTS", "").split(os.pathsep)
    return os.pathsep.join(str(Path(path).absolute()) for path in paths if path)


@dataclass(frozen=True)
class Job:
    """What is to be done to every file of a run.

    Args:
        source, target: places as `storage.place` takes them; no target when classifying.
        model, quality: of what is encoded. head, top: of labels.
        weights: fingerprint that every worker must find under that model's name; "": any.
        format, output_quality: of what is decoded, as `writers` has them.
        device: of the network. threads: of one worker; results may depend on it in a last bit.
        delete_source: delete what was encoded once its file is decoded and checked.
        replace: write over outputs that are not up to date, whatever they are.
        store: where weights of the user's own are, on every node: $TICODEC_WEIGHTS of the command.
    """

    action: Action
    source: str
    target: str | None = None
    follow_links: bool = False
    model: str | None = None
    weights: str = ""
    quality: float | None = None
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


@dataclass(frozen=True)
class Item:
    """One file: names below the places, bytes, seconds since 1970 if known."""

    name: str
    output: str
    size: int = 0
    modified: float | None = None
    #: Whether a worker that had it died.
    retry: bool = False
    #: Whether its output is there and only its source is to be deleted, once that is checked.
    verify: bool = False


@dataclass
class Row:
    """What became of one file.

    Args:
        file, output: names below the places. bytes_in, bytes_out: of the two.
        bpp: bits of the .tic file a pixel. psnr: dB, where the output was verified.
        seconds: of work on it; of several coded together an equal share.
        labels: the most probable first, (label, probability).
        retried: whether a worker died with it before. deleted: whether its source is gone.
        fatal: whether going on with other files is useless.
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
    psnr: float | None = None
    seconds: float = 0.0
    model: str = ""
    modified: float | None = None
    labels: list[tuple[str, float]] = field(default_factory=list)
    retried: bool = False
    deleted: bool = False
    fatal: bool = False

    @classmethod
    def of(cls, item: Item, status: Status, **more: Any) -> Row:
        """The row of an item."""
        modified, retried = item.modified, item.retry
        size = {"bytes_in": item.size} | more
        return cls(item.name, item.output, status, modified=modified, retried=retried, **size)

    @classmethod
    def left(cls, item: Item) -> Row:
        """The row of an item that was not begun, or not known to have ended, when the run was."""
        return cls.of(item, "left", error="not done: the run ended before")
