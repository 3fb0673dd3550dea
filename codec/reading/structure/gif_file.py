"""Finds what a GIF has besides its first frame: in its blocks, and after its end."""

from __future__ import annotations

from PIL import Image

from ..tags.xmp import in_gif
from .behind import look_behind
from .found import Found
from .steps import number, steps

EXTENSION, FRAME = 0x21, 0x2C
#: Kinds of extensions.
TEXT, CONTROL, COMMENT, APPLICATION = 0x01, 0xF9, 0xFE, 0xFF
#: Applications whose data needs no note: how often an animation repeats, and ImageMagick's gamma.
IGNORED = {b"NETSCAPE2.0", b"ANIMEXTS1.0", b"ImageMagick"}
#: The most blocks, and parts of blocks, to read. A GIF of 250 MB has that many parts of 255 bytes.
MOST_PARTS = 1_000_000


def look(data: bytes, image: Image.Image, found: Found) -> None:
    """Find what a GIF has besides its first frame. Raises TooManySteps."""
    frames = 0
    count = steps(MOST_PARTS)
    at = 13 + _colours(number(data, 10, 1))
    for _ in count:
        kind = number(data, at, 1)
        if kind == EXTENSION:
            _look_at_extension(data, at + 1, found)
            at += 2
        elif kind == FRAME:
            frames += 1
            at += 10 + _colours(number(data, at + 9, 1)) + 1  # 1: bits of the first code
        elif kind == 0x3B or at >= len(data):
            look_behind(data, min(at + 1, len(data)), found)
            break
        else:  # damage, which Pillow skips too
            at += 1
            continue
        size = number(data, at, 1)
        while size:
            next(count)
            at += 1 + size
            size = data[at] if at < len(data) else 0
        at += 1
    found.add("frames", "frame", frames - 1)


def _colours(flags: int) -> int:
    """The size of a colour table, in bytes."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _look_at_extension(data: bytes, at: int, found: Found) -> None:
    """Find what an extension contains. Its kind is at the offset `at`."""
    kind = number(data, at, 1)
    name = data[at + 2 : at + 13]
    if kind == COMMENT and number(data, at + 1, 1):
        found.add("text", "a comment")
    elif kind == TEXT:
        found.add("text", "shown on the picture")
    elif kind == APPLICATION and name.startswith(b"XMP Data"):
        if in_gif(data) is None:
            found.add("xmp")
    elif kind == APPLICATION and name.startswith(b"ICCRGBG1"):
        found.add("colour")
    elif kind == APPLICATION and name not in IGNORED:
        found.add("metadata", name.decode("latin-1"))
    elif kind not in (COMMENT, APPLICATION, CONTROL):
        found.add("metadata", f"extension {kind}")
