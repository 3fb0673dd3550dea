"""Handles JPEG files whose end is missing: finds out whether pixels are missing, and how many.

libjpeg fills in missing pixels without reporting it. So the file is decoded twice: once with an end
marker appended, and once with other bytes in front of that marker. If pixels are missing, the bytes
become pixels, and the two pictures differ from the first missing row on.

    file without end ─┬─► + end marker ──────────────► picture ─┬─► first row that differs
                      └─► + other bytes + end marker ─► picture ─┘

A progressive file has its pixels in several scans, each finer than the last. If it ends between two
scans, only its headers show that more should follow.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO

from PIL import Image, ImageChops

from ticodec.errors import BadInputError
from ticodec.notes import Note

from .options import Reading
from .structure.jpeg_segments import END, SCAN, segments
from .structure.steps import TooManySteps

#: The last bytes of a JPEG.
_END_MARKER = bytes([0xFF, END])
#: Bytes that become pixels if pixels are missing. There are two kinds, because one of them may give
#: the same pixels that libjpeg fills in.
_FILLINGS = (b"\x5a\xa5\x11" * 40, b"\xa5\x5a\xee" * 40)
#: A restart marker in coded pixels.
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
#: The markers of frames. C4, C8 and CC have other meanings.
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
#: This many zeros at the end, or more, are not pixels: a copy that failed has left them.
_ZEROS = 4


@dataclass
class _Structure:
    """The structure of a JPEG file whose end is missing.

    Args:
        end: the offset where its last complete part ends.
        coded: the offset where its last coded pixels begin, or None if there are none.
        progressive: whether it has several scans, each finer than the last.
        missing: for each pair of component and coefficient (0 … 63), how many bits should still
            follow. 99 before its first scan.
    """

    end: int = 2
    coded: int | None = None
    progressive: bool = False
    missing: dict[tuple[int, int], int] = field(default_factory=dict)

    def frame(self, marker: int, body: bytes) -> None:
        """Read the header of the picture."""
        self.progressive = marker in _PROGRESSIVE
        for at in range(6, len(body) - 2, 3):
            self.missing |= {(body[at], index): 99 for index in range(64)}

    def scan(self, body: bytes) -> None:
        """Read the header of a scan of coded pixels."""
        count = body[0]
        first, last, bits = body[1 + 2 * count], body[2 + 2 * count], body[3 + 2 * count] & 15
        if not self.progressive:
            first, last, bits = 0, 63, 0
        for component in body[1 : 1 + 2 * count : 2]:
            for index in range(first, last + 1):
                self.missing[component, index] = bits


def completed(data: bytes, reading: Reading) -> tuple[Image.Image, list[Note]] | None:
    """Decode a JPEG whose end is missing. Also returns a note if pixels are missing.

    Returns None if the end is not missing: then the file has some other damage.

    Raises BadInputError if pixels are missing and `reading` does not allow that, or if all pixels
    are missing.
    """
    try:
        structure = _structure(data)
    except (IndexError, TooManySteps):  # damaged headers
        return None
    if structure is None:
        return None
    if structure.coded is None:
        raise BadInputError("damaged image: the file ends before its pixels begin")
    data = data[: structure.end]
    image = _decoded(data + _END_MARKER)
    rows = image.height
    whole = not any(structure.missing.values())
    if whole:
        for filling in _fillings(data[structure.coded :]):
            filled = _decoded(data + filling + _END_MARKER)
            box = ImageChops.difference(image, filled).getbbox()
            rows = min(rows, box[1]) if box else rows
        lost = image.height - rows
    else:
        lost = image.height
    if not lost:
        return image, []
    share = max(1, round(100 * lost / image.height))
    details = "details of " if structure.progressive or not whole else ""
    text = (
        f"the end of the file is missing, with {details}about {lost} of {image.height} rows "
        f"({share} %)"
    )
    if not reading.allow_truncated:
        to_do = "encode it with `allow_truncated` to keep the rest"
        raise BadInputError(f"damaged image: {text}; {to_do}")
    return image, [Note("truncated", text)]


def _decoded(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data), formats=["JPEG", "MPO"])
    image.load()
    return image


def _fillings(coded: bytes) -> Iterator[bytes]:
    """Make bytes that become pixels if the coded pixels are not complete.

    The coded pixels may end where a restart marker is due. So the next restart markers follow, each
    with a filling after it.
    """
    restarts = _RESTART.findall(coded)
    next_one = restarts[-1][1] + 1 if restarts else 0
    for filling in _FILLINGS:
        marks = (b"\xff" + bytes([0xD0 + (next_one + step) % 8]) for step in range(8))
        yield filling + b"".join(mark + filling for mark in marks)


def _structure(data: bytes) -> _Structure | None:
    """Read the structure of a JPEG file whose end is missing. None if the end is not missing.

    Raises IndexError if its headers are damaged, TooManySteps if it has too many segments.
    """
    found = _Structure()
    end = 2
    for segment in segments(data):
        if segment.marker == END:
            return None
        if segment.is_cut:
            found.end = segment.at
            return found
        body, end = data[segment.start : segment.end], segment.end
        if segment.marker in _FRAMES:
            found.frame(segment.marker, body)
        elif segment.marker == SCAN:
            found.scan(body)
            found.coded = end
    found.end = _coded_end(data) if found.coded == end else end
    return found


def _coded_end(data: bytes) -> int:
    """Where the coded pixels end, in a file that ends with them."""
    filled = data.rstrip(b"\0")
    if len(data) - len(filled) >= _ZEROS:
        # In coded pixels, a 0xFF is always followed by a zero that belongs to it.
        return len(filled) + filled.endswith(b"\xff")
    return len(data.rstrip(b"\xff"))  # a 0xFF without the byte that belongs to it
