"""The resolution of a photo, in dots per inch: how large it is printed.

JPEG and PNG files have it outside of their EXIF. A `.tic` keeps it in the EXIF, and decoded files
get it from there. Programs write 72 and 96 when nobody chose a resolution: these count as none.
"""

from __future__ import annotations

import struct
from fractions import Fraction

from PIL import Image

from .exif import RATIONAL, SHORT, Tags

#: Across, down.
Resolution = tuple[float, float]

ACROSS, DOWN, UNIT = 0x11A, 0x11B, 0x128
INCH, CENTIMETRE = 2, 3
#: How many of each unit are an inch. Without a unit a resolution only says what shape pixels have.
UNITS = {INCH: 1.0, CENTIMETRE: 2.54}
#: What programs write when nobody chose.
USUAL = (72, 96)
#: How far from a whole number a resolution may be to be rounded. Some files count dots per metre
#: or centimetre: 300 dpi become 299.9994.
NEAR = 0.02
#: Others are impossible.
LEAST, MOST = 2, 65535


def of_file(image: Image.Image) -> Resolution | None:
    """What an image's file says outside of its metadata; None: nothing that counts."""
    try:
        across, down = image.info["dpi"]
        return checked(float(across), float(down))
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None


def is_oblong(image: Image.Image) -> bool:
    """Whether a JPEG or PNG file says only the shape of its pixels, and that is no square."""
    shape: object = image.info.get("aspect")  # of a PNG
    if image.info.get("jfif_unit") == 0:
        shape = image.info.get("jfif_density")
    return isinstance(shape, tuple) and len(set(shape)) == 2 and 0 not in shape


def of_exif(tags: Tags) -> Resolution | None:
    """What the EXIF says; None: nothing that counts."""
    across, down = (tags.rational(tags.entry(tags.first, tag)) for tag in (ACROSS, DOWN))
    unit = tags.number(tags.first, UNIT, INCH)
    inches = UNITS.get(unit, 0.0)
    return checked(across * inches, (down or across) * inches)


def checked(across: float, down: float) -> Resolution | None:
    """The resolution, unless it is the usual one or impossible."""
    if not (LEAST <= across <= MOST and LEAST <= down <= MOST):
        return None
    if any(abs(across - usual) < 0.5 and abs(down - usual) < 0.5 for usual in USUAL):
        return None
    return _rounded(across), _rounded(down)


def same(exif: Resolution | None, file: Resolution) -> bool:
    """Whether the EXIF has the file's resolution, but for rounding.

    Where the file has none, Pillow gives the EXIF's, the one across for both.
    """
    if exif is None:
        return False
    return abs(exif[0] - file[0]) < 0.5 and (file[0] == file[1] or abs(exif[1] - file[1]) < 0.5)


def put(tags: Tags, resolution: Resolution) -> None:
    """Write it into EXIF, in place of what it says."""
    across, down = ((RATIONAL, 1, _fraction(tags, dpi)) for dpi in resolution)
    unit = (SHORT, 1, struct.pack(f"{tags.order}H", INCH))
    tags.put({ACROSS: across, DOWN: down, UNIT: unit})


def _fraction(tags: Tags, dpi: float) -> bytes:
    fraction = Fraction(dpi).limit_denominator(1000)
    return struct.pack(f"{tags.order}LL", fraction.numerator, fraction.denominator)


def _rounded(dpi: float) -> float:
    return float(round(dpi)) if abs(dpi - round(dpi)) < NEAR else dpi
