"""Reads and writes the resolution of a photo in dots per inch, which says how large it is printed.

JPEG and PNG files have it outside of their EXIF. A `.tic` file keeps it in the EXIF, and decoded
files get it from there. Programs write 72 or 96 if nobody chose a resolution. So these two count as
no resolution.
"""

from __future__ import annotations

import struct
from fractions import Fraction

from PIL import Image

from .exif import RATIONAL, SHORT, Tags

#: The horizontal and the vertical resolution, in dots per inch.
Resolution = tuple[float, float]

ACROSS, DOWN, UNIT = 0x11A, 0x11B, 0x128
INCH, CENTIMETRE = 2, 3
#: How many of each unit an inch has. Without a unit, a resolution says only the shape of pixels.
UNITS = {INCH: 1.0, CENTIMETRE: 2.54}
#: The resolutions that programs write if nobody chose one.
USUAL = (72, 96)
#: A resolution is rounded if it differs from a whole number by less than this. Some files count
#: dots per metre or centimetre, so that 300 dpi become 299.9994.
NEAR = 0.02
#: Resolutions outside of this range are impossible.
LEAST, MOST = 2, 65535


def of_file(image: Image.Image) -> Resolution | None:
    """The resolution in a file outside of its metadata. None if there is none that counts."""
    try:
        across, down = image.info["dpi"]
        return checked(float(across), float(down))
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None


def is_oblong(image: Image.Image) -> bool:
    """Whether a JPEG or PNG file says only the shape of its pixels, and it is not a square."""
    shape: object = image.info.get("aspect")  # of a PNG
    if image.info.get("jfif_unit") == 0:
        shape = image.info.get("jfif_density")
    return isinstance(shape, tuple) and len(set(shape)) == 2 and 0 not in shape


def of_exif(tags: Tags) -> Resolution | None:
    """The resolution in the EXIF. None if there is none that counts."""
    across, down = (tags.rational(tags.entry(tags.first, tag)) for tag in (ACROSS, DOWN))
    unit = tags.number(tags.first, UNIT, INCH)
    inches = UNITS.get(unit, 0.0)
    return checked(across * inches, (down or across) * inches)


def checked(across: float, down: float) -> Resolution | None:
    """Return a resolution, rounded. None if it is a usual one or impossible."""
    if not (LEAST <= across <= MOST and LEAST <= down <= MOST):
        return None
    if any(abs(across - usual) < 0.5 and abs(down - usual) < 0.5 for usual in USUAL):
        return None
    return _rounded(across), _rounded(down)


def same(exif: Resolution | None, file: Resolution) -> bool:
    """Whether the EXIF has the file's resolution, apart from rounding.

    If the file has none, Pillow returns the horizontal one of the EXIF for both directions.
    """
    if exif is None:
        return False
    return abs(exif[0] - file[0]) < 0.5 and (file[0] == file[1] or abs(exif[1] - file[1]) < 0.5)


def put(tags: Tags, resolution: Resolution) -> None:
    """Write a resolution into EXIF, and replace the one that is there."""
    across, down = ((RATIONAL, 1, _fraction(tags, dpi)) for dpi in resolution)
    unit = (SHORT, 1, struct.pack(f"{tags.order}H", INCH))
    tags.put({ACROSS: across, DOWN: down, UNIT: unit})


def _fraction(tags: Tags, dpi: float) -> bytes:
    fraction = Fraction(dpi).limit_denominator(1000)
    return struct.pack(f"{tags.order}LL", fraction.numerator, fraction.denominator)


def _rounded(dpi: float) -> float:
    return float(round(dpi)) if abs(dpi - round(dpi)) < NEAR else dpi
