"""Reads the boxes of AVIF, HEIC, JPEG 2000 and JPEG XL files. A box has a size, a name and data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from .steps import number, steps

#: How many boxes, and entries of lists in them, are read from one file at most.
MOST_PARTS = 200_000
#: The first bytes of a "uuid" box with content credentials (C2PA).
CREDENTIALS = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
NAME = re.compile(rb"[ -~\xa9]{4}")


class Box(NamedTuple):
    """A box's name, and where its data lies: data[start:end]."""

    name: bytes
    start: int
    end: int


class Boxes:
    """Reads the boxes of a file.

    Attributes:
        steps: counts the things that are read. Calling `next` on it may raise TooManySteps.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.steps = steps(MOST_PARTS)

    def within(self, start: int, end: int) -> Iterator[Box]:
        """The boxes in data[start:end], up to the first damaged one. Raises TooManySteps."""
        while start + 8 <= end:
            next(self.steps)
            size, head = number(self.data, start, 4), 8
            if size == 1:
                size, head = number(self.data, start + 8, 8), 16
            elif size == 0:
                size = end - start
            name = self.data[start + 4 : start + 8]
            if size < head or start + size > end or not NAME.fullmatch(name):
                return
            yield Box(name, start + head, start + size)
            start += size

    def inside(self, box: Box | None, skip: int = 0) -> Iterator[Box]:
        """The boxes inside a box, after its first `skip` bytes. Raises TooManySteps."""
        if box is not None:
            yield from self.within(box.start + skip, box.end)

    def find(self, box: Box | None, *names: bytes) -> Box | None:
        """Find a box by its path: the names from inside `box` downwards.

        Returns None if it is not there. Raises TooManySteps.
        """
        for name in names:
            box = next((inner for inner in self.inside(box) if inner.name == name), None)
        return box

    def is_cut(self, at: int, names: set[bytes]) -> bool:
        """Whether the file ends at an offset, or within a box that begins there.

        Args:
            at: the offset.
            names: the names that this box may have. Its name may also be cut off.
        """
        return self.data[at + 4 : at + 8] in names or at + 8 > len(self.data)
