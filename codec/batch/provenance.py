"""A note in a decoded image that says which `.tic` file it was made from.

A second run reads it to see what is up to date, and so never takes someone's own image for an
output. A PNG has the note in a text chunk near its beginning. Other formats have it behind their
end (`writers.trailer`).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

from ticodec.writers import NOTE, note_in

SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = b"\0\0\0\0IEND\xaeB`\x82"
#: How many bytes of a PNG's beginning are searched for the note.
HEAD = 1 << 20


def note_of(tic: bytes, quality: int | None = None) -> str:
    """The note of an image that was decoded from a file's bytes.

    `quality`: of the image's format; None for a lossless one.
    """
    return f"crc32 {zlib.crc32(tic):08x}" + (f" quality {quality}" if quality is not None else "")


def read_note(read: Callable[[int, int | None], bytes]) -> str | None:
    """The note of an image file; None: it has none; "": it has one, but the image is damaged.

    A file whose end is missing has no note. In a PNG only the note and the end are checked; files
    of other formats are read whole, and checked by their checksum.

    Args:
        read: returns data[start:end] of the file.
    """
    tail = read(-len(END), None)
    return _of_png(read(0, HEAD)) if tail == END else note_in(read(0, None))


def _of_png(head: bytes) -> str | None:
    """The note in a PNG's first bytes."""
    if not head.startswith(SIGNATURE):
        return None
    at = len(SIGNATURE)
    while at + 12 <= len(head):
        length, kind = struct.unpack_from(">I4s", head, at)
        body = head[at + 8 : at + 8 + length]
        if at + 12 + length > len(head):
            return None
        if kind == b"tEXt" and body.startswith(NOTE.encode() + b"\0"):
            (expected,) = struct.unpack_from(">I", head, at + 8 + length)
            whole = zlib.crc32(kind + body) == expected
            return body[len(NOTE) + 1 :].decode("latin-1") if whole else None
        if kind == b"IDAT":
            return None
        at += 12 + length
    return None
