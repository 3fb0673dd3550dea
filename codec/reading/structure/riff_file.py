"""Finds what a WebP has besides its picture: in its RIFF chunks, and after its end."""

from __future__ import annotations

from PIL import Image

from .behind import look_behind
from .found import Found
from .steps import number, steps

#: Chunks that are kept, and the frames of an animation, which are counted.
KEPT = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ICCP", b"EXIF", b"XMP ", b"ANIM", b"ANMF"}
MOST_CHUNKS = 100_000


def look(data: bytes, image: Image.Image, found: Found) -> None:
    """Find what a WebP has besides its picture. Raises TooManySteps."""
    frames = 0
    end = min(8 + number(data, 4, 4, "little"), len(data))
    at = 12
    for _ in steps(MOST_CHUNKS):
        if at + 8 > end:
            break
        name = data[at : at + 4]
        size = number(data, at + 4, 4, "little")
        at += 8 + size + size % 2
        frames += name == b"ANMF"
        if name == b"C2PA":
            found.add("credentials")
        elif name not in KEPT:
            found.add("metadata", name.decode("latin-1"))
    found.add("frames", "frame", frames - 1)
    look_behind(data, end, found)
