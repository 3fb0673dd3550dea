"""The chunks of a PNG: a size, a name, data, and a checksum of name and data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .steps import number

SIGNATURE = b"\x89PNG\r\n\x1a\n"


class Chunk(NamedTuple):
    """A chunk's name, and where its data lies: data[start:end]. Its checksum follows, 4 bytes."""

    name: bytes
    start: int
    end: int


def chunks(data: bytes) -> Iterator[Chunk]:
    """The chunks of a file, without its checksums looked at; none if it is no PNG.

    The last one may end behind the end of the data.
    """
    at = len(SIGNATURE)
    while data.startswith(SIGNATURE) and at + 8 <= len(data):
        start = at + 8
        end = start + number(data, at, 4)
        yield Chunk(data[at + 4 : start], start, end)
        at = end + 4
