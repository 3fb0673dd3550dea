"""Marks in outputs that say what they were made from: a `.tic` file of its photo, a decoded image
of its `.tic` file.

A later run reads them to see what is up to date. So it never takes someone's own image, or the file
of another photo, for an output of its own. A `.tic` has the mark in a section. A PNG has it in a
text chunk near its beginning. Other formats have it behind their end (`writers.trailer`).
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from ticodec import container, sections
from ticodec.container import Container
from ticodec.effort import USUAL_EFFORT
from ticodec.reading.structure.png_chunks import chunks
from ticodec.targets import Quality, Target
from ticodec.writers import MARK, TRAILER_MAX, mark_in

#: The last chunk of a PNG.
END = b"\0\0\0\0IEND\xaeB`\x82"
#: How many bytes of a PNG's beginning are searched for the mark.
HEAD = 1 << 20
#: The most pixels a `.tic` can have: the limit where nothing is decoded, which needs no memory.
NO_LIMIT = container.SIDE_MAX**2
#: What stands between the suffix, which never has a slash, and how the file was encoded. Versions
#: that do not know it take both for the suffix: to them the file is another photo's, and stays.
ENCODED = "./"


@dataclass(frozen=True)
class Origin:
    """What a `.tic` file says of its photo.

    Args:
        suffix: of the photo's name, with its dot, as it was written; "" when it had none.
        size: of the photo, in bytes.
        deleted: whether the run was to delete the photo: then the `.tic` may be all that is left.
        left_out: what of the photo was left out by wish, as in `Reading.left_out`.
        target: what the file was encoded for, as `target_text` says it; "": a quality.
        effort: that it was encoded with.
    """

    suffix: str
    size: int
    deleted: bool
    left_out: str = ""
    target: str = ""
    effort: int = USUAL_EFFORT


def target_text(quality: Quality) -> str:
    """A target as an origin has it, such as "psnr=35"; "" for a quality."""
    return f"{quality.measure}={quality.value:.9g}" if isinstance(quality, Target) else ""


def payload_of(origin: Origin) -> bytes:
    """What a `.tic` file stores of an origin.

    The target and the effort are left out if they are the usual ones.
    """
    sign = "-" if origin.deleted else ""
    photo = f"{sign}{origin.size}{origin.left_out[:1]}{origin.suffix}"
    effort = "" if origin.effort == USUAL_EFFORT else f"effort={origin.effort}"
    encoded = ",".join(filter(None, (origin.target, effort)))
    return os.fsencode(photo + (ENCODED + encoded if encoded else ""))


def with_origin(tic: bytes, origin: Origin) -> bytes:
    """The bytes of a `.tic` file with this origin in place of what it said before, if anything.

    Raises BadInputError when it is damaged.
    """
    file = container.read(tic, NO_LIMIT)
    file.sections[sections.numbers()["origin"]] = payload_of(origin)
    return container.write(file)


def origin_of(file: Container) -> Origin | None:
    """What a `.tic` file says of its photo; None: it says nothing, or nothing that can be read.

    A later version may say in other words how it was encoded. These count as its target, so that it
    differs from that of every job of this version.
    """
    found = re.fullmatch(rb"(-?)(\d{1,18})([lm]?)((?s:\..*)?)", file.section("origin") or b"")
    if found is None:
        return None
    left_out = {b"l": "location", b"m": "metadata"}.get(found[3], "")
    suffix, _, encoded = os.fsdecode(found[4]).partition(ENCODED)
    target, effort = encoded, USUAL_EFFORT
    if said := re.fullmatch(r"(?:(.+),)?effort=([1-9])", encoded, re.DOTALL):
        target, effort = said[1] or "", int(said[2])
    return Origin(suffix, int(found[2]), bool(found[1]), left_out, target, effort)


def mark_of(tic: bytes, quality: int | None = None) -> str:
    """The mark of an image that was decoded from a file's bytes.

    `quality`: of the image's format; None for a lossless one.
    """
    return f"crc32 {zlib.crc32(tic):08x}" + (f" quality {quality}" if quality is not None else "")


def read_mark(read: Callable[[int, int | None], bytes], size: int) -> str | None:
    """The mark of an image file; None: it has none; "": it has one, but the image is damaged.

    A file whose end is missing has no mark. In a PNG only the mark and the end are checked; files
    of other formats that have a mark are read whole, and checked by their checksum.

    Args:
        read: returns data[start:end] of the file. size: of the file, in bytes.
    """
    tail = read(-min(size, TRAILER_MAX), None)
    if tail.endswith(END):
        return _of_png(read(0, HEAD))
    return mark_in(read(0, None)) if MARK.encode() in tail else None


def _of_png(head: bytes) -> str | None:
    """The mark in a PNG's first bytes."""
    for name, start, end in chunks(head):
        checksum = head[end : end + 4]
        if name == b"IDAT" or len(checksum) < 4:
            return None
        text = head[start:end]
        if name == b"tEXt" and text.startswith(MARK.encode() + b"\0"):
            whole = zlib.crc32(name + text) == int.from_bytes(checksum, "big")
            return text[len(MARK) + 1 :].decode("latin-1") if whole else None
    return None
