"""A note in a decoded PNG that says which `.tic` file it was made from.

By it a second run knows what is up to date, and never takes someone's own PNG for one of ours.
"""

from __future__ import annotations

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = b"\0\0\0\0IEND\xaeB`\x82"
KEY = "ticodec"
#: As much of a file's beginning is searched for the note.
HEAD = 1 << 20


def note(tic: bytes) -> dict[str, str]:
    """Text chunks of a PNG that was decoded from a file's bytes."""
    return {KEY: f"crc32 {zlib.crc32(tic):08x}"}


def read_note(head: bytes, tail: bytes) -> str | None:
    """The note in a whole PNG's first and last bytes; None if there is none, or it is not whole."""
    if not head.startswith(SIGNATURE) or not tail.endswith(END):
        return None
    at = len(SIGNATURE)
    while at + 12 <= len(head):
        length, kind = struct.unpack_from(">I4s", head, at)
        body = head[at + 8 : at + 8 + length]
        if at + 12 + length > len(head):
            return None
        if kind == b"tEXt" and body.startswith(KEY.encode() + b"\0"):
            (expected,) = struct.unpack_from(">I", head, at + 8 + length)
            whole = zlib.crc32(kind + body) == expected
            return body[len(KEY) + 1 :].decode("latin-1") if whole else None
        if kind == b"IDAT":
            return None
        at += 12 + length
    return None
