"""Boxes, of which AVIF, HEIC, JPEG 2000 and JPEG XL files are made: a size, a name, and data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from .steps import number, steps

#: Of all boxes of a file together, and of what they list.
MOST_PARTS = 200_000
#: How a "uuid" box with content credentials (C2PA) begins.
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
        steps: what counts the things that are read: `next` of it raises TooManySteps.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.steps = steps(MOST_PARTS)

    def within(self, start: int, end: int) -> Iterator[Box]:
        """The boxes of data[start:end], up to the first that does not fit. Raises TooManySteps."""
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
        """The boxes in a box, behind its first `skip` bytes. Raises TooManySteps."""
        if box is not None:
            yield from self.within(box.start + skip, box.end)

    def find(self, box: Box | None, *names: bytes) -> Box | None:
        """The box at a path of names, from a box downwards; None: it is not there.

        Raises TooManySteps.
        """
        for name in names:
            box = next((inner for inner in self.inside(box) if inner.name == name), None)
        return box

    def is_cut(self, at: int, names: set[bytes]) -> bool:
        """Whether the file ends within a box of one of these names that starts here."""
        return self.data[at + 4 : at + 8] in names or at + 8 > len(self.data)
