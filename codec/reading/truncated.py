"""JPEG files whose end is missing: whether pixels are missing too, and how many.

libjpeg fills up what is missing, and says nothing. So the file is decoded twice, with an end marker
where it ends, and with other bytes before that marker: where something is missing they become
pixels, and the two pictures differ from there on.

    file without end ─┬─► + end marker ──────────────► picture ─┬─► first row that differs
                      └─► + other bytes + end marker ─► picture ─┘

A progressive file tells its pixels several times, each time finer. When it ends between two times,
only its headers tell that there should be more.
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

_END = b"\xff\xd9"
#: Bytes that no picture has behind its last one. Two kinds: one may say the same as what is there.
_OTHERS = (b"\x5a\xa5\x11" * 40, b"\xa5\x5a\xee" * 40)
#: A marker in coded pixels. Behind 0xFF, 0 means 0xFF itself, and 0xD0 … 0xD7 is a restart.
_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
#: Markers of frames: C4, C8 and CC are others.
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
#: So many zeros at the end are no pixels: a copy that has failed leaves them.
_ZEROS = 4
_SCAN, _WITHOUT_LENGTH = 0xDA, {0x01, *range(0xD0, 0xD9)}


@dataclass
class _Structure:
    """What a JPEG file without its end has.

    Args:
        end: of its last whole part, in bytes. coded: where its last coded pixels begin, or None.
        missing: pairs of component and coefficient (0 … 63), with the bits that are to come.
    """

    end: int = 2
    coded: int | None = None
    progressive: bool = False
    missing: dict[tuple[int, int], int] = field(default_factory=dict)

    def frame(self, marker: int, body: bytes) -> None:
        """Take the header of the picture."""
        self.progressive = marker in _PROGRESSIVE
        for at in range(6, len(body) - 2, 3):
            self.missing |= {(body[at], index): 99 for index in range(64)}

    def scan(self, body: bytes) -> None:
        """Take the header of coded pixels."""
        count = body[0]
        first, last, bits = body[1 + 2 * count], body[2 + 2 * count], body[3 + 2 * count] & 15
        if not self.progressive:
            first, last, bits = 0, 63, 0
        for component in body[1 : 1 + 2 * count : 2]:
            for index in range(first, last + 1):
                self.missing[component, index] = bits


def completed(data: bytes, reading: Reading) -> tuple[Image.Image, list[Note]] | None:
    """A JPEG whose end is missing, decoded, and a note if pixels are missing too.

    None if its end is there: then it is damaged otherwise.

    Raises BadInputError when pixels are missing, unless `reading` allows that, or all of them.
    """
    try:
        structure = _structure(data)
    except IndexError:  # damaged headers
        return None
    if structure is None:
        return None
    if structure.coded is None:
        raise BadInputError("damaged image: the file ends before its pixels begin")
    data = data[: structure.end]
    image = _decoded(data + _END)
    rows = image.height
    whole = not any(structure.missing.values())
    if whole:
        for others in _fillings(data[structure.coded :]):
            difference = ImageChops.difference(image, _decoded(data + others + _END)).getbbox()
            rows = min(rows, difference[1]) if difference else rows
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
        raise BadInputError(f"damaged image: {text}; give `allow_truncated` to take the rest")
    return image, [Note("truncated", text)]


def _decoded(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data), formats=["JPEG", "MPO"])
    image.load()
    return image


def _fillings(coded: bytes) -> Iterator[bytes]:
    """Bytes that would become pixels, where coded pixels do not end.

    They may end where a restart is due. So the next ones follow, with others behind each.
    """
    restarts = _RESTART.findall(coded)
    next_one = restarts[-1][1] + 1 if restarts else 0
    for others in _OTHERS:
        marks = (b"\xff" + bytes([0xD0 + (next_one + step) % 8]) for step in range(8))
        yield others + b"".join(mark + others for mark in marks)


def _structure(data: bytes) -> _Structure | None:
    """What a JPEG file has up to where it ends; None if its end is there.

    Raises IndexError when its headers are damaged.
    """
    found = _Structure()
    at = 2
    while True:
        marker = _MARKER.search(data, at)
        if marker is None:
            found.end = _coded_end(data) if found.coded == at else at
            return found
        kind, at = data[marker.end() - 1], marker.end()
        if kind == _END[1]:
            return None
        if kind in _WITHOUT_LENGTH:
            continue
        after = at + int.from_bytes(data[at : at + 2], "big")
        if len(data) < max(after, at + 2):
            found.end = marker.start()
            return found
        body, at = data[at + 2 : after], after
        if kind in _FRAMES:
            found.frame(kind, body)
        elif kind == _SCAN:
            found.scan(body)
            found.coded = at


def _coded_end(data: bytes) -> int:
    """Where coded pixels end that the file ends with."""
    filled = data.rstrip(b"\0")
    if len(data) - len(filled) >= _ZEROS:
        # In coded pixels a zero belongs to the 0xFF in front of it.
        return len(filled) + filled.endswith(b"\xff")
    return len(data.rstrip(b"\xff"))  # half a marker, or half of what stands for 0xFF
