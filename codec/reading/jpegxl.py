"""Reads the header of a JPEG XL file, before Pillow's plugin opens it and decodes all pixels.

file ─► boxes, or a bare codestream ─► header: size, animation, bits
             └─► XMP, which the plugin does not read
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image

from ticodec.notes import Note

from .structure.boxes import Box, Boxes

#: The first bytes of a bare codestream, and of a file of boxes.
CODESTREAM = b"\xff\x0a"
CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"

#: Ratios of width and height, by their number in the header. With number 0 the width follows.
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}


class Facts(NamedTuple):
    """What a header says.

    Args:
        height, width: in pixels, before the orientation is applied.
        animated: whether the file is an animation.
        bits: per channel.
    """

    height: int
    width: int
    animated: bool = False
    bits: int = 8


def is_jpegxl(data: bytes) -> bool:
    """Whether a file begins as a JPEG XL file does."""
    return data.startswith((CODESTREAM, CONTAINER))


def facts(data: bytes) -> Facts:
    """Read the header of a file. Raises ValueError if it has none."""
    header = _Bits(_codestream(data))
    height, width = _size(header)
    if header.take(1):  # everything else has its default
        return Facts(height, width)
    if header.take(1):
        header.take(3)  # the orientation
        if header.take(1):
            _size(header)  # the size to show the picture at
        if header.take(1):  # a preview, which is not parsed because no program writes one
            return Facts(height, width)
        if header.take(1):
            return Facts(height, width, animated=True)
    usual = (32, 16, 24) if header.take(1) else (8, 10, 12)
    choice = header.take(2)
    bits = usual[choice] if choice < 3 else header.take(6) + 1
    return Facts(height, width, bits=bits)


def complete(image: Image.Image, data: bytes) -> list[Note]:
    """Add the XMP of a file to its image. Pillow's plugin does not read it.

    Returns notes on what is lost.
    """
    compressed = set()
    for box in _boxes(data):
        if box.name == b"xml " and box.start < box.end:
            image.info.setdefault("xmp", data[box.start : box.end])
        elif box.name == b"brob":
            compressed.add(data[box.start : box.start + 4])
    notes = []
    header = facts(data)
    if header.animated:
        notes.append(Note("frames", "all frames of the animation but the first are dropped"))
    if header.bits > 8:
        notes.append(Note("bits", f"{header.bits} bits per channel are reduced to 8"))
    for kind, key in ((b"Exif", "exif"), (b"xml ", "xmp")):
        if kind in compressed and not image.info.get(key):
            notes.append(Note(key, f"compressed {key.upper()} is dropped"))
    return notes


def _codestream(data: bytes) -> bytes:
    """The beginning of the codestream."""
    if data.startswith(CODESTREAM):
        return data[2:64]
    for box in _boxes(data):
        if box.name in (b"jxlc", b"jxlp"):
            start = box.start + (4 if box.name == b"jxlp" else 0)  # "jxlp" begins with a number
            return data[start + 2 : start + 64]
    raise ValueError("the file has no picture, or ends within it")


def _boxes(data: bytes) -> Iterator[Box]:
    """The boxes of a file. A bare codestream has none. Raises TooManySteps."""
    return Boxes(data).within(0, len(data) if data.startswith(CONTAINER) else 0)


def _size(bits: _Bits) -> tuple[int, int]:
    """(height, width) in pixels."""
    small = bits.take(1)
    height = _side(bits, small)
    ratio = bits.take(3)
    if not ratio:
        return height, _side(bits, small)
    wide, high = _RATIOS[ratio]
    return height, height * wide // high


def _side(bits: _Bits, small: int) -> int:
    """Read a number of pixels. Small ones are stored as multiples of 8."""
    if small:
        return 8 * (bits.take(5) + 1)
    return bits.take((9, 13, 18, 30)[bits.take(2)]) + 1


class _Bits:
    """Reads numbers of any length in bits. The lowest bits come first."""

    def __init__(self, data: bytes) -> None:
        self.value, self.left = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count: int) -> int:
        """Read the next number of `count` bits. Raises ValueError if fewer bits are left."""
        if count > self.left:
            raise ValueError("its header is cut short")
        taken = self.value & ((1 << count) - 1)
        self.value >>= count
        self.left -= count
        return taken
