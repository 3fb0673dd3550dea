"""Marks in outputs that say what they were made from.

The mark of a `.tic` file is about its photo. The mark of a decoded image is about its `.tic` file.
A later run reads the marks to see what is up to date. So it never confuses its own outputs with a
user's image or with the file of another photo. A `.tic` file stores its mark in a section. A PNG
stores it in a text chunk near its beginning. Other formats have it after their end
(`writers.trailer`).
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
#: The most pixels that a `.tic` file can have. This is the limit for reading files without decoding
#: them, which needs little memory.
NO_LIMIT = container.SIDE_MAX**2
#: Separates the suffix, which never has a slash, from how the file was encoded. Earlier versions do
#: not know it and take both for the suffix. To them the file belongs to another photo, and stays.
ENCODED = "./"


@dataclass(frozen=True)
class Origin:
    """What a `.tic` file stores about its photo.

    Args:
        suffix: suffix of the photo's name with its dot, in the case in which it was written, or ""
            if it had none.
        size: size of the photo in bytes.
        deleted: whether the run was going to delete the photo. If so, the `.tic` file may be all
            that is left.
        left_out: the metadata that the user asked to leave out, as in `Reading.left_out`.
        target: the target that the file was encoded for, as `target_text` writes it, or "" for a
            quality.
        effort: the effort that it was encoded with.
    """

    suffix: str
    size: int
    deleted: bool
    left_out: str = ""
    target: str = ""
    effort: int = USUAL_EFFORT


def target_text(quality: Quality) -> str:
    """A target as an origin stores it, such as "psnr=35", or "" for a quality."""
    return f"{quality.measure}={quality.value:.9g}" if isinstance(quality, Target) else ""


def payload_of(origin: Origin) -> bytes:
    """An origin as the bytes that a `.tic` file stores.

    A quality and the usual effort are left out.
    """
    sign = "-" if origin.deleted else ""
    photo = f"{sign}{origin.size}{origin.left_out[:1]}{origin.suffix}"
    effort = "" if origin.effort == USUAL_EFFORT else f"effort={origin.effort}"
    encoded = ",".join(filter(None, (origin.target, effort)))
    return os.fsencode(photo + (ENCODED + encoded if encoded else ""))


def with_origin(tic: bytes, origin: Origin) -> bytes:
    """The bytes of a `.tic` file with this origin instead of the one that it has, if any.

    Raises BadInputError when the file is damaged.
    """
    file = container.read(tic, NO_LIMIT)
    file.sections[sections.numbers()["origin"]] = payload_of(origin)
    return container.write(file)


def origin_of(file: Container) -> Origin | None:
    """What a `.tic` file stores about its photo, or None if it stores nothing that can be read.

    A later version may describe in another form how a file was encoded. This text then counts as
    the target, so that it differs from the target of every job of this version.
    """
    found = re.fullmatch(rb"(-?)(\d{1,18})([lm]?)((?s:\..*)?)", file.section("origin") or b"")
    if found is None:
        return None
    left_out = {b"l": "location", b"m": "metadata"}.get(found[3], "")
    suffix, _, encoded = os.fsdecode(found[4]).partition(ENCODED)
    target, effort = encoded, USUAL_EFFORT
    if parts := re.fullmatch(r"(?:(.+),)?effort=([1-9])", encoded, re.DOTALL):
        target, effort = parts[1] or "", int(parts[2])
    return Origin(suffix, int(found[2]), bool(found[1]), left_out, target, effort)


def mark_of(tic: bytes, quality: int | None = None) -> str:
    """The mark of an image that was decoded from the bytes of a `.tic` file.

    Args:
        quality: the quality that the image was written with, or None for a lossless format.
    """
    return f"crc32 {zlib.crc32(tic):08x}" + (f" quality {quality}" if quality is not None else "")


def read_mark(read: Callable[[int, int | None], bytes], size: int) -> str | None:
    """The mark of an image file. None if it has no mark, "" if it has one but is damaged.

    A file whose end is missing has no mark. In a PNG only the mark and the end are checked, and a
    damaged mark counts as no mark. A file of another format that has a mark is read completely, and
    checked by its checksum.

    Args:
        read: returns data[start:end] of the file.
        size: size of the file in bytes.
    """
    tail = read(-min(size, TRAILER_MAX), None)
    if tail.endswith(END):
        return _of_png(read(0, HEAD))
    return mark_in(read(0, None)) if MARK.encode() in tail else None


def _of_png(head: bytes) -> str | None:
    """The mark in the first bytes of a PNG, as `read_mark` returns it."""
    for name, start, end in chunks(head):
        checksum = head[end : end + 4]
        if name == b"IDAT" or len(checksum) < 4:
            return None
        text = head[start:end]
        if name == b"tEXt" and text.startswith(MARK.encode() + b"\0"):
            whole = zlib.crc32(name + text) == int.from_bytes(checksum, "big")
            return text[len(MARK) + 1 :].decode("latin-1") if whole else None
    return None
