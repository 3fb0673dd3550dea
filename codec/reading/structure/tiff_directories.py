"""Reads the directories of a TIFF or BigTIFF, in either byte order. The file may be damaged.

This module only reads. `tags/exif.py` can change directories, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from .steps import Order, number, steps

#: The first bytes of a TIFF (little and big endian), and of a BigTIFF.
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
#: The most entries of all directories together. A TIFF with some thousands of pages has that many.
MOST_ENTRIES = 200_000
#: The size of a value in bytes, by its kind, for the kinds that are unsigned integers.
SIZES = {1: 1, 3: 2, 4: 4, 7: 1, 13: 4, 16: 8, 18: 8}
MOST_VALUES = 1_000
#: The size of a value in bytes, for all kinds.
WIDTHS = {2: 1, 5: 8, 6: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 17: 8} | SIZES
#: Pairs of tags with the offsets and the lengths of strips, of tiles, and of a JPEG.
PIECES = ((273, 279), (324, 325), (513, 514))


class Entry(NamedTuple):
    """The values of a tag: their kind, how many there are, and the offset of the first one."""

    kind: int
    length: int
    at: int


class Directories:
    """Reads the directories of a TIFF in data[base:]. All offsets here count from `data[0]`.

    Attributes:
        first: the offset of the first directory. 0 if there is none.
        order: the byte order.
    """

    def __init__(self, data: bytes, base: int = 0) -> None:
        self._data, self._base = data, base
        self.order: Order = "little" if data[base : base + 2] == b"II" else "big"
        self._wide = 8 if number(data, base + 2, 2, self.order) == 43 else 4
        self._steps = steps(MOST_ENTRIES)
        self.first = self._offset(base + self._wide)

    def at(self, offset: int) -> tuple[dict[int, Entry], int]:
        """Read the directory at an offset. Raises TooManySteps.

        Returns:
            Its entries by tag, and the offset of the next directory, which is 0 if there is none.
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
        """The offset after a directory and after everything that its entries point to.

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
                return len(self._data)  # the length of the pixels is not known
            ends.append(self._base + int((at + long).max(initial=0)))
        return min(max(ends), len(self._data))

    def _array(self, entry: Entry | None) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """All unsigned integers of an entry, (n,), int64. n is 0 if they are not in the file."""
        size = 0 if entry is None else SIZES.get(entry.kind, 0)
        if entry is None or not size or entry.at + size * entry.length > len(self._data):
            return np.zeros(0, np.int64)
        kind = f"{'<' if self.order == 'little' else '>'}u{size}"
        return np.frombuffer(self._data, kind, entry.length, entry.at).astype(np.int64)

    def places(self, entry: Entry | None, size: int) -> Iterator[int]:
        """The offsets of an entry's values, each of `size` bytes. At most MOST_VALUES."""
        if entry is not None:
            end = entry.at + SIZES.get(entry.kind, 0) * entry.length
            yield from range(entry.at, min(end - size + 1, entry.at + size * MOST_VALUES), size)

    def numbers(self, entry: Entry | None) -> list[int]:
        """The unsigned integers of an entry, at most MOST_VALUES. Empty for other kinds."""
        size = SIZES.get(entry.kind, 1) if entry is not None else 1
        return [number(self._data, at, size, self.order) for at in self.places(entry, size)]

    def number(self, entry: Entry | None, usual: int) -> int:
        """The first unsigned integer of an entry, or `usual` if it has none."""
        return next(iter(self.numbers(entry)), usual)

    def _offset(self, at: int) -> int:
        offset = number(self._data, at, self._wide, self.order)
        return self._base + offset if offset else 0
