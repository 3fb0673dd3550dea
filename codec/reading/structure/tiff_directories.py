"""The directories of a TIFF, classic or big, in either byte order: read only, damaged or not.

`tags.exif` changes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .steps import Order, number, steps

#: How a TIFF begins: classic or big, little or big endian.
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
#: Of all directories together: some thousands of pages.
MOST_ENTRIES = 200_000
#: Sizes of a value in bytes, by its kind; of the kinds that hold unsigned integers.
SIZES = {1: 1, 3: 2, 4: 4, 7: 1, 13: 4, 16: 8, 18: 8}
MOST_VALUES = 1_000
#: Sizes of a value in bytes, of every kind.
WIDTHS = {2: 1, 5: 8, 6: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 17: 8} | SIZES
#: Tags of offsets, and of how many bytes are there: of strips, of tiles, of a JPEG.
PIECES = ((273, 279), (324, 325), (513, 514))


class Entry(NamedTuple):
    """A tag's value: its kind, how many, and the offset of the first."""

    kind: int
    length: int
    at: int


class Directories:
    """Reads directories of the TIFF that starts at data[base:]; offsets are within `data`.

    Attributes:
        first: the offset of the first directory; 0: there is none.
        order: its byte order.
    """

    def __init__(self, data: bytes, base: int = 0) -> None:
        self._data, self._base = data, base
        self.order: Order = "little" if data[base : base + 2] == b"II" else "big"
        self._wide = 8 if number(data, base + 2, 2, self.order) == 43 else 4
        self._steps = steps(MOST_ENTRIES)
        self.first = self._offset(base + self._wide)

    def at(self, offset: int) -> tuple[dict[int, Entry], int]:
        """The entries of the directory at an offset, by tag; the offset of the next one, or 0.

        Raises TooManySteps.
        """
        next(self._steps)
        if not offset:
            return {}, 0
        wide = self._wide
        size = 2 if wide == 4 else 8
        count = number(self._data, offset, size, self.order)
        entries = {}
        at = offset + size
        for _ in range(count):
            if at >= len(self._data):
                break
            next(self._steps)
            tag, kind = (number(self._data, at + i, 2, self.order) for i in (0, 2))
            values = number(self._data, at + 4, wide, self.order)
            place = at + 4 + wide
            if SIZES.get(kind, 8) * values > wide:
                place = self._offset(place)
            entries[tag] = Entry(kind, values, place)
            at += 4 + 2 * wide
        return entries, self._offset(at)

    def end(self, offset: int) -> int:
        """The offset behind a directory, and behind all that its entries point to.

        Raises TooManySteps.
        """
        entries, _ = self.at(offset)
        size = 2 if self._wide == 4 else 8
        count = number(self._data, offset, size, self.order)
        ends = [offset + size + count * (4 + 2 * self._wide) + self._wide]
        for entry in entries.values():
            length = WIDTHS.get(entry.kind, 1) * entry.length
            ends.append(entry.at + length if length > self._wide else 0)
        for starts, lengths in PIECES:
            at, long = (self._array(entries.get(tag)) for tag in (starts, lengths))
            if len(at) != len(long):
                return len(self._data)  # nobody knows how long the pixels are
            ends.append(self._base + int((at + long).max(initial=0)))
        return min(max(ends), len(self._data))

    def _array(self, entry: Entry | None) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """All of an entry's unsigned integers, (n,) int64; none if they are not in the file."""
        size = 0 if entry is None else SIZES.get(entry.kind, 0)
        if entry is None or not size or entry.at + size * entry.length > len(self._data):
            return np.zeros(0, np.int64)
        kind = f"{'<' if self.order == 'little' else '>'}u{size}"
        return np.frombuffer(self._data, kind, entry.length, entry.at).astype(np.int64)

    def places(self, entry: Entry | None, size: int) -> Iterator[int]:
        """Offsets of an entry's values as pieces of `size` bytes, of not more than MOST_VALUES."""
        if entry is not None:
            end = entry.at + SIZES.get(entry.kind, 0) * entry.length
            yield from range(entry.at, min(end - size + 1, entry.at + size * MOST_VALUES), size)

    def numbers(self, entry: Entry | None) -> list[int]:
        """An entry's unsigned integers, of not more than MOST_VALUES; of other kinds none."""
        size = SIZES.get(entry.kind, 1) if entry is not None else 1
        return [number(self._data, at, size, self.order) for at in self.places(entry, size)]

    def number(self, entry: Entry | None, usual: int) -> int:
        """The first of an entry's unsigned integers; `usual`: it has none."""
        return next(iter(self.numbers(entry)), usual)

    def _offset(self, at: int) -> int:
        offset = number(self._data, at, self._wide, self.order)
        return self._base + offset if offset else 0
