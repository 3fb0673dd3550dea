"""Reads the chunks of a PNG. A chunk has a size, a name, data, and a checksum of name and data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .steps import number

SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Chunk(NamedTuple):
    """A chunk's name, and where its data lies: data[start:end]. A checksum of 4 bytes follows."""

    name: bytes
    start: int
    end: int


def chunks(data: bytes) -> Iterator[Chunk]:
    """The chunks of a file. Their checksums are not checked. A file that is not a PNG has none.

    If the file is cut off, the last chunk ends after the end of `data`.
    """
    at = len(SIGNATURE)
    while data.startswith(SIGNATURE) and at + 8 <= len(data):
        start = at + 8
        end = start + number(data, at, 4)
        yield Chunk(data[at + 4 : start], start, end)
        at = end + 4
