"""The header of a JPEG XL file, read before its plugin for Pillow decodes all pixels at once.

file ─► boxes, or a bare codestream ─► header: size, animation, bits
             └─► XMP, which the plugin leaves out
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image

from ticodec.notes import Note

from .structure.boxes import Box, Boxes

#: How a bare codestream begins, and a file of boxes.
CODESTREAM = b"\xff\x0a"
CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"

#: Width : height by their number in the header; 0: the width is there itself.
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}


class Facts(NamedTuple):
    """What a header says.

    Args:
        height, width: in pixels, before the orientation is applied.
        animated: whether there are frames. bits: of a channel.
    """

    height: int
    width: int
    animated: bool = False
    bits: int = 8


def is_jpegxl(data: bytes) -> bool:
    """Whether a file begins as JPEG XL does."""
    return data.startswith((CODESTREAM, CONTAINER))


def facts(data: bytes) -> Facts:
    """What the header of a file says. Raises ValueError when it has none."""
    header = _Bits(_codestream(data))
    height, width = _size(header)
    if header.take(1):  # all else is as usual
        return Facts(height, width)
    if header.take(1):
        header.take(3)  # the orientation
        if header.take(1):
            _size(header)  # another size to show it at
        if header.take(1):  # a preview; nothing makes them
            return Facts(height, width)
        if header.take(1):
            return Facts(height, width, animated=True)
    usual = (32, 16, 24) if header.take(1) else (8, 10, 12)
    choice = header.take(2)
    bits = usual[choice] if choice < 3 else header.take(6) + 1
    return Facts(height, width, bits=bits)


def complete(image: Image.Image, data: bytes) -> list[Note]:
    """Add the XMP to an image, which its plugin leaves out. Returns notes on what is lost."""
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
        notes.append(Note("bits", f"{header.bits} bits a channel are reduced to 8"))
    for kind, key in ((b"Exif", "exif"), (b"xml ", "xmp")):
        if kind in compressed and not image.info.get(key):
            notes.append(Note(key, f"{key.upper()} that is compressed is dropped"))
    return notes


def _codestream(data: bytes) -> bytes:
    """The beginning of the codestream."""
    if data.startswith(CODESTREAM):
        return data[2:64]
    for box in _boxes(data):
        if box.name in (b"jxlc", b"jxlp"):
            start = box.start + (4 if box.name == b"jxlp" else 0)  # a part, after its number
            return data[start + 2 : start + 64]
    raise ValueError("the file has no picture, or ends within it")


def _boxes(data: bytes) -> Iterator[Box]:
    """The boxes of a file; a bare codestream has none. Raises TooManySteps."""
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
    """A number of pixels: small ones are multiples of 8."""
    if small:
        return 8 * (bits.take(5) + 1)
    return bits.take((9, 13, 18, 30)[bits.take(2)]) + 1


class _Bits:
    """Numbers in bits, the lowest first."""

    def __init__(self, data: bytes) -> None:
        self.value, self.left = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count: int) -> int:
        """The next number, of `count` bits. Raises ValueError when fewer are left."""
        if count > self.left:
            raise ValueError("its header is cut short")
        taken = self.value & ((1 << count) - 1)
        self.value >>= count
        self.left -= count
        return taken
