"""What a JPEG XL file says of itself. Its plugin decodes all pixels at once, and leaves some out.

file ─► boxes, or a bare codestream ─► header: size, animation, bits
             └─► XMP, and what is lost
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image

from ticodec.notes import Note

#: How a bare codestream begins, and a file of boxes.
CODESTREAM = b"\xff\x0a"
CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"

#: Width : height by their number in the header; 0: the width is there itself.
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}


class Facts(NamedTuple):
    """Of the picture as it is stored, in pixels: an orientation may turn it. Bits of a channel."""

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
    """Add to an image what its plugin leaves out. Returns notes on what is lost."""
    boxes = list(_boxes(data))
    packet = next((payload for kind, payload in boxes if kind == b"xml "), None)
    if packet:
        image.info.setdefault("xmp", packet)
    notes = []
    header = facts(data)
    if header.animated:
        notes.append(Note("frames", "all frames of the animation but the first are dropped"))
    if header.bits > 8:
        notes.append(Note("bits", f"{header.bits} bits a channel are reduced to 8"))
    compressed = {payload[:4] for kind, payload in boxes if kind == b"brob"}
    for kind, key in ((b"Exif", "exif"), (b"xml ", "xmp")):
        if kind in compressed and not image.info.get(key):
            notes.append(Note(key, f"{key.upper()} that is compressed is dropped"))
    return notes


def _codestream(data: bytes) -> bytes:
    """The beginning of the codestream."""
    if data.startswith(CODESTREAM):
        return data[2:64]
    for kind, payload in _boxes(data):
        if kind == b"jxlc":
            return payload[2:64]
        if kind == b"jxlp":  # a part, after its number
            return payload[6:64]
    raise ValueError("no picture in it")


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and payload of each box."""
    at = 0
    while data.startswith(CONTAINER) and at + 8 <= len(data):
        size, start = int.from_bytes(data[at : at + 4], "big"), at + 8
        if size == 1:
            size, start = int.from_bytes(data[start : start + 8], "big"), at + 16
        end = at + size if size else len(data)
        if end < start:
            return
        yield data[at + 4 : at + 8], data[start:end]
        at = end


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
        """The next number of so many bits. Raises ValueError behind the last one."""
        if count > self.left:
            raise ValueError("its header is cut short")
        taken = self.value & ((1 << count) - 1)
        self.value >>= count
        self.left -= count
        return taken
