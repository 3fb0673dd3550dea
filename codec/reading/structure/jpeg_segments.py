"""Reads the segments of a JPEG, from its first byte to its end marker, through all of its scans."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .steps import number, steps

START, END, SCAN, COMMENT = 0xD8, 0xD9, 0xDA, 0xFE
#: The most segments to read. A JPEG of 100 MB with 64 kB in each segment has fewer.
MOST_SEGMENTS = 10_000
_FIRST_BLOCK, _LARGEST_BLOCK = 1 << 10, 1 << 18


class Segment(NamedTuple):
    """A marker, and the data that belongs to it.

    Args:
        marker: the number of the marker.
        at: the offset of the marker.
        start, end: the segment's data is data[start:end].
        behind_scan: whether the segment comes after coded pixels.
        is_cut: whether the file ends before the segment does.
    """

    marker: int
    at: int
    start: int
    end: int
    behind_scan: bool
    is_cut: bool = False


def segments(data: bytes, at: int = 0, most: int = MOST_SEGMENTS) -> Iterator[Segment]:
    """The segments of the JPEG that starts at an offset.

    The last one has the marker END, and ends where the JPEG ends. A JPEG whose end is missing does
    not have it. Raises TooManySteps if there are more than `most` segments.
    """
    at += 2  # the start marker
    scanned = False
    for _ in steps(most):
        at = _next_marker(data, at)
        if at < 0:
            return
        marker, start = data[at + 1], at + 2
        if marker == END:
            yield Segment(END, at, start, start, scanned)
            return
        if marker == START and scanned:  # another JPEG: the end marker of this one is missing
            yield Segment(END, at, at, at, scanned)
            return
        size = number(data, start, 2)
        is_cut = start + max(size, 2) > len(data)
        if marker < 0xC0 or marker == START or (size < 2 and not is_cut):  # damage, not a marker
            at = start
            continue
        place, at = at, min(start + size, len(data))
        scanned = scanned or marker == SCAN
        yield Segment(marker, place, min(start + 2, at), at, scanned, is_cut)


def _next_marker(data: bytes, at: int) -> int:
    """The offset of the next marker that is not a restart marker, or -1 if there is none."""
    pair = data[at : at + 2]
    if len(pair) == 2 and pair[0] == 0xFF and _is_marker(np.frombuffer(pair[1:], np.uint8))[0]:
        return at
    everything = np.frombuffer(data, np.uint8)
    size = _FIRST_BLOCK
    while at < len(data) - 1:
        block = everything[at : at + size + 1]
        places = np.flatnonzero(block[:-1] == 0xFF)
        places = places[_is_marker(block[places + 1])]
        if len(places):
            return at + int(places[0])
        at += size
        size = min(2 * size, _LARGEST_BLOCK)
    return -1


def _is_marker(after_ff: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Whether bytes after 0xFF make a marker. Zeros, fill bytes and restart markers do not."""
    return (after_ff != 0) & (after_ff != 0xFF) & (after_ff & 0xF8 != 0xD0)
