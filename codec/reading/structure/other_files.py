"""Finds what files have besides their picture, for formats that are rarely used for photos."""

from __future__ import annotations

import re

from PIL import Image

from ..jpegxl import CONTAINER
from . import photoshop
from .behind import look_behind
from .boxes import Boxes
from .found import Found
from .steps import number

#: The numbers of BMP's two run-length compressions: for pixels of 8 bits, and of 4 bits.
RUNS = (1, 2)
#: The boxes of a JPEG XL file that need no note: they are kept, or empty.
JPEG_XL_BOXES = {b"JXL ", b"ftyp", b"jxll", b"jxlc", b"jxlp", b"jxli", b"jbrd", b"Exif", b"xml "}
#: The header of a PNM: its kind, width, height, and greatest value, with comments in between.
_GAP = rb"(?:\s|#[^\n]*\n)+"
PNM = re.compile(rb"P([1-6])" + (_GAP + rb"(\d+)") * 2 + rb"(?:" + _GAP + rb"(\d+))?\s")


def look_at_pnm(data: bytes, image: Image.Image, found: Found) -> None:
    """Find what a PBM, PGM or PPM has besides its picture."""
    head = PNM.match(data[:1000])
    if head is None:
        if b"#" in data[:1000]:  # a long comment
            found.add("text", "a comment")
        return
    kind, (width, height) = int(head[1]), map(int, head.groups()[1:3])
    if b"#" in head[0]:
        found.add("text", "a comment")
    if kind == 4:
        look_behind(data, head.end(3) + 1 + (width + 7) // 8 * height, found)
        return
    most = int(head[4] or 1)
    if most > 255:
        found.add("bits", str(most.bit_length()))
    if kind > 4:
        samples = width * height * (3 if kind == 6 else 1)
        look_behind(data, head.end() + samples * (2 if most > 255 else 1), found)


def look_at_bmp(data: bytes, image: Image.Image, found: Found) -> None:
    """Find the profile of a BMP, which Pillow does not read, and what follows its pixels."""
    header = number(data, 14, 4, "little")
    if header < 40:
        return
    bits, compression = (number(data, at, 2, "little") for at in (28, 30))
    pixels = number(data, 34, 4, "little")
    if compression not in RUNS:
        pixels = (image.width * bits + 31) // 32 * 4 * image.height
    end = number(data, 10, 4, "little") + pixels
    if header >= 124 and data[70:74] in (b"DEBM", b"KNIL"):  # a profile, or the name of its file
        found.add("colour")
        end = max(end, 14 + sum(number(data, at, 4, "little") for at in (126, 130)))
    elif header >= 108 and data[70:74] == bytes(4) and any(data[74:122]):
        found.add("metadata", "gamma and primaries")
    look_behind(data, end, found)


def look_at_psd(data: bytes, image: Image.Image, found: Found) -> None:
    """Find what a Photoshop file has besides its merged picture."""
    at = 26
    at += 4 + number(data, at, 4)  # the colour table
    size = number(data, at, 4)
    photoshop.look(data, at + 4, at + 4 + size, found, kept=(photoshop.ICC,))
    at += 4 + size
    if number(data, at, 4) and number(data, at + 4, 4):
        layers = number(data, at + 8, 2)
        found.add("layers", count=min(layers, 0x10000 - layers))
    found.add("channels", count=number(data, 12, 2) - len(image.getbands()))


def look_at_ico(data: bytes, image: Image.Image, found: Found) -> None:
    """Find the further sizes of an icon or a cursor."""
    found.add("frames", "picture", number(data, 4, 2, "little") - 1)


def look_at_icns(data: bytes, image: Image.Image, found: Found) -> None:
    """Find the further sizes of an icon of macOS."""
    found.add("frames", "picture", len(image.info.get("sizes", [0])) - 1)


def look_at_sgi(data: bytes, image: Image.Image, found: Found) -> None:
    """Find out whether an SGI has 2 bytes per channel."""
    if number(data, 3, 1) == 2:
        found.add("bits", "16")


def look_at_jpeg_xl(data: bytes, image: Image.Image, found: Found) -> None:
    """Find what a JPEG XL file of boxes has besides its picture. Raises TooManySteps.

    A file without boxes has nothing else.
    """
    if not data.startswith(CONTAINER):
        return
    boxes = Boxes(data)
    end = 0
    for box in boxes.within(0, len(data)):
        end = box.end
        if box.name == b"jhgm":
            found.add("gain-map")
        elif box.name == b"jumb":
            found.add("credentials")
        elif box.name not in JPEG_XL_BOXES | {b"brob", b"free"}:
            found.add("metadata", box.name.decode("latin-1"))
    if not boxes.is_cut(end, JPEG_XL_BOXES):
        look_behind(data, end, found)


def look_at_frames(data: bytes, image: Image.Image, found: Found) -> None:
    """Find the further frames that Pillow counts, in formats whose structure is not inspected."""
    found.add("frames", "frame", getattr(image, "n_frames", 1) - 1)
