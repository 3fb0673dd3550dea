"""Reads EXIF, and changes its bytes in place, so that every offset in it stays correct.

EXIF is a TIFF file without pixels: directories of tags. They point to each other, and to long
values, by offsets in the block. Maker notes have offsets too, in forms that only their makers know.
A program that rewrites EXIF moves the maker notes, and their offsets become wrong. Here nothing
moves.

Exif\\0\\0 · II or MM · first directory ─┬─► thumbnail's directory ─► a JPEG
                                       ├─► camera's directory ─► maker note
                                       └─► place (GPS)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

#: The first bytes of EXIF in a JPEG and in a `.tic` file. PNG, WebP and AVIF do not have them.
PREFIX = b"Exif\0\0"
#: The size of one value in bytes, by the number of its type.
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
SHORT, LONG, RATIONAL = 3, 4, 5
ORIENTATION, CAMERA, GPS, INTEROPERABILITY, MAKER_NOTE = 0x112, 0x8769, 0x8825, 0xA005, 0x927C
#: The tags with the offset and the length of a JPEG thumbnail.
THUMBNAIL, THUMBNAIL_LENGTH = 0x201, 0x202
#: The tags with the offsets and lengths of an uncompressed thumbnail.
STRIPS, STRIP_LENGTHS = 0x111, 0x117


class Entry(NamedTuple):
    """One tag.

    Args:
        at: the offset of its 12 bytes.
        tag: its number.
        kind: the number of its type.
        values: how many values it has.
        value: the offset of its values.
        size: the size of all its values, in bytes.
    """

    at: int
    tag: int
    kind: int
    values: int
    value: int
    size: int


class Tags:
    """The tags of EXIF. They can be changed.

    Directories are identified by their offsets in `data`. Methods raise ValueError for anything
    that is not within the block. The constructor takes EXIF with or without `PREFIX`, and raises
    ValueError if its first directory cannot be read.

    Attributes:
        data: the block without `PREFIX`.
        order: the byte order, "<" or ">", as in `struct`.
    """

    def __init__(self, exif: bytes) -> None:
        self.data = bytearray(without_prefix(exif))
        order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(self.data[:4]))
        if order is None:
            raise ValueError("the EXIF does not begin as EXIF must")
        self.order = order
        self.entries(self.first)

    def tobytes(self) -> bytes:
        """The EXIF with `PREFIX`."""
        return PREFIX + bytes(self.data)

    @property
    def first(self) -> int:
        """The offset of the first directory, which has the tags of the picture."""
        return self._number(4, 4)

    @property
    def camera(self) -> int | None:
        """The offset of the camera's directory. None if it is missing or damaged."""
        return self._pointed(self.first, CAMERA)

    @property
    def thumbnail(self) -> int | None:
        """The offset of the thumbnail's directory. None if it is missing or damaged."""
        at = self.next_of(self.first)
        with suppress(ValueError):
            if at and self.entries(at):
                return at
        return None

    def next_of(self, directory: int) -> int:
        """The offset of the directory after this one, or 0 if there is none."""
        end = self._end(directory)
        return self._number(end, 4) if end + 4 <= len(self.data) else 0

    def entries(self, directory: int) -> list[Entry]:
        """The tags of a directory. Raises ValueError if it is not within the block."""
        if directory < 8 or self._end(directory) > len(self.data):
            raise ValueError("a directory of the EXIF is not within it")
        return [self._entry(at) for at in range(directory + 2, self._end(directory), 12)]

    def entry(self, directory: int | None, tag: int) -> Entry | None:
        """Find a tag of a directory. None if it is missing, or its value is not in the block."""
        if directory is None:
            return None
        for entry in self.entries(directory):
            if entry.tag == tag and entry.value + entry.size <= len(self.data):
                return entry
        return None

    def numbers(self, entry: Entry | None) -> list[int]:
        """The values of a tag, if they are whole numbers. Otherwise an empty list."""
        if entry is None or entry.kind not in (SHORT, LONG, 13):
            return []
        size = SIZES[entry.kind]
        return [self._number(entry.value + size * n, size) for n in range(entry.values)]

    def number(self, directory: int | None, tag: int, usual: int = 0) -> int:
        """The first value of a tag with whole numbers, or `usual` if there is no such tag."""
        return next(iter(self.numbers(self.entry(directory, tag))), usual)

    def set_number(self, entry: Entry, value: int) -> None:
        """Change the first value of a tag with whole numbers."""
        form = "H" if entry.kind == SHORT else "L"
        struct.pack_into(self.order + form, self.data, entry.value, value)

    def rational(self, entry: Entry | None) -> float:
        """The value of a tag with a fraction, or 0 if it is not a fraction."""
        if entry is None or entry.kind != RATIONAL or not entry.values:
            return 0
        over, under = self._number(entry.value, 4), self._number(entry.value + 4, 4)
        return over / under if under else 0

    def remove(self, directory: int, tag: int) -> None:
        """Remove a tag from a directory. The tags after it move up, but no value moves."""
        for entry in reversed(self.entries(directory)):
            if entry.tag != tag:
                continue
            end = self._end(directory)
            behind = bytes(self.data[end : end + 4]).ljust(4, b"\0")  # next directory's offset
            self.data[entry.at : end] = self.data[entry.at + 12 : end] + behind + bytes(8)
            count = (end - directory - 2) // 12
            struct.pack_into(f"{self.order}H", self.data, directory, count - 1)

    def swap(self, directory: int | None, one: int, other: int) -> None:
        """Exchange the values of two tags, if the directory has both."""
        pair = self.entry(directory, one), self.entry(directory, other)
        if pair[0] and pair[1]:
            first, second = (slice(entry.at + 2, entry.at + 12) for entry in pair if entry)
            self.data[first], self.data[second] = self.data[second], self.data[first]

    def put(self, tags: dict[int, tuple[int, int, bytes]]) -> None:
        """Add tags to the first directory, or replace those with the same numbers.

        The new directory is written at the end of the block. The old one is filled with zeros.

        Args:
            tags: by a tag's number, its type, the count of its values, and the values as bytes.
        """
        entries = {e.tag: bytes(self.data[e.at : e.at + 12]) for e in self.entries(self.first)}
        behind = self.next_of(self.first)
        old = slice(self.first, min(self._end(self.first) + 4, len(self.data)))
        self.data[old] = bytes(old.stop - old.start)
        self.data += bytes(len(self.data) % 2)
        start = len(self.data)
        values = start + 2 + 12 * len(entries.keys() | tags.keys()) + 4
        longer = b""
        for tag, (kind, count, value) in tags.items():
            if len(value) > 4:
                place = self._packed("L", values + len(longer))
                longer += value
            else:
                place = value.ljust(4, b"\0")
            entries[tag] = self._packed("HHL", tag, kind, count) + place
        self.data += self._packed("H", len(entries))
        self.data += b"".join(entries[tag] for tag in sorted(entries))
        self.data += self._packed("L", behind) + longer
        struct.pack_into(f"{self.order}L", self.data, 4, start)

    def end_with(self, directory: int) -> None:
        """Make this directory the last one."""
        end = self._end(directory)
        self.data[end : end + 4] = bytes(len(self.data[end : end + 4]))

    def wipe_unused(self) -> None:
        """Fill with zeros all bytes that belong neither to a known directory nor to its tags."""
        if self.thumbnail is None:
            self.end_with(self.first)
        clean = bytearray(len(self.data))
        done = 0  # in hostile files many tags have the same bytes; these are copied only once
        for start, stop in sorted(self._used()):
            start, stop = max(start, done), min(stop, len(self.data))
            clean[start:stop] = self.data[start:stop]
            done = max(done, stop)
        self.data = clean

    def _used(self) -> Iterator[tuple[int, int]]:
        """The ranges [start, stop) of all bytes in use: the header, directories, values …"""
        yield 0, 8
        further = self._pointed(self.camera, INTEROPERABILITY)
        for directory in filter(None, (self.first, self.camera, further, self.thumbnail)):
            # Only the first directory ends with the offset of another one, the thumbnail's.
            yield directory, self._end(directory) + 4 * (directory == self.first)
            for entry in self.entries(directory):
                yield entry.value, entry.value + entry.size
        yield from self.thumbnail_places()

    def thumbnail_places(self) -> Iterator[tuple[int, int]]:
        """The ranges [start, stop) of the thumbnail's bytes."""
        for place, length in ((THUMBNAIL, THUMBNAIL_LENGTH), (STRIPS, STRIP_LENGTHS)):
            starts = self.numbers(self.entry(self.thumbnail, place))
            lengths = self.numbers(self.entry(self.thumbnail, length))
            for start, size in zip(starts, lengths, strict=False):
                yield start, start + size

    def _pointed(self, directory: int | None, tag: int) -> int | None:
        """The offset of the directory that a tag points to. None if it is missing or damaged."""
        at = self.number(directory, tag)
        with suppress(ValueError):
            if at and self.entries(at):
                return at
        return None

    def _entry(self, at: int) -> Entry:
        tag, kind, count = struct.unpack_from(f"{self.order}HHL", self.data, at)
        size = SIZES.get(kind, 1) * count
        return Entry(at, tag, kind, count, at + 8 if size <= 4 else self._number(at + 8, 4), size)

    def _end(self, directory: int) -> int:
        """The offset after the tags of a directory. Raises ValueError if it begins outside."""
        return directory + 2 + 12 * self._number(directory, 2)

    def _number(self, at: int, size: int) -> int:
        """An unsigned number. Raises ValueError if it is not within the block."""
        if at + size > len(self.data):
            raise ValueError("the EXIF ends too early")
        order = "little" if self.order == "<" else "big"
        return int.from_bytes(self.data[at : at + size], order)  # type: ignore[arg-type]

    def _packed(self, form: str, *values: int) -> bytes:
        return struct.pack(self.order + form, *values)


def without_prefix(exif: bytes) -> bytes:
    """Remove `PREFIX` from EXIF, however often it is there. PNG, WebP and AVIF do not have it."""
    while exif.startswith(PREFIX):
        exif = exif[len(PREFIX) :]
    return exif


def tags_of(exif: bytes | None) -> Tags | None:
    """Parse EXIF. Returns None if there is none, or if it cannot be read."""
    try:
        return Tags(exif) if exif else None
    except ValueError:
        return None


def empty() -> Tags:
    """Make EXIF that has no tags."""
    return Tags(b"MM\0*\0\0\0\x08\0\0\0\0\0\0")
