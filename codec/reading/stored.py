"""Reads how a file stores its samples and colours, which its Pillow image does not say completely.

TIFF tags ─┐
PNG chunks ├─► Stored ─► samples: which number is white; colour: which RGB it is
nclx       ┘
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

from PIL import Image

from .structure.png_chunks import chunks

#: TIFF tags.
BITS, PHOTOMETRIC, WHITE_POINT, PRIMARIES, SAMPLE_FORMAT = 258, 262, 318, 319, 339


@dataclass(frozen=True)
class Stored:
    """Facts about a file. If the file does not say something, it has its default here.

    Args:
        format: Pillow's name of the format, such as "PNG".
        bits: how many bits a sample has. 0 if this is not known.
        signed: whether samples may be negative.
        white_is_zero: whether 0 is white, in Pillow's image too.
        cicp: the numbers of the primaries and of the transfer function in ITU-T H.273.
        srgb: whether the file says that it is sRGB.
        gamma: samples are light ^ gamma, where both are 0 … 1.
        chromaticities: x, y of white, red, green and blue: eight numbers.
        icc: an ICC profile that Pillow does not read.
        full_range: if false, black is 16 and white is 235.
    """

    format: str = ""
    bits: int = 0
    signed: bool = False
    white_is_zero: bool = False
    cicp: tuple[int, int] | None = None
    srgb: bool = False
    gamma: float | None = None
    chromaticities: tuple[float, ...] | None = None
    icc: bytes | None = None
    full_range: bool = True


#: The facts about an image in memory, which has no file.
UNKNOWN = Stored()


def stored_as(image: Image.Image, data: bytes = b"") -> Stored:
    """Find out how a file stores its image.

    Args:
        image: the Pillow image, unchanged since it was opened.
        data: the file, if there is one. Pillow does not read everything in a PNG or AVIF.
    """
    tags = getattr(image, "tag_v2", None)
    if tags is not None:
        return _of_tiff(tags)
    facts: dict[str, Any] = {
        "format": image.format or "",
        "gamma": image.info.get("gamma"),
        "chromaticities": image.info.get("chromaticity"),
        "srgb": "srgb" in image.info,
    }
    if image.format in ("AVIF", "HEIF"):
        facts["cicp"] = _nclx(data)
    elif image.format == "JPEG2000":
        facts["icc"] = _profile_of_jp2(data)
    elif image.format == "PPM":
        facts["bits"] = 16  # Pillow scales every other depth to 8 or 16 bits
    elif image.format == "FITS" and image.mode.startswith("I;16"):
        facts |= {"bits": 16, "signed": True}
    for name, start, end in chunks(data):
        payload = data[start:end]
        if name == b"IDAT":
            break
        if name == b"IHDR" and len(payload) == 13:
            facts["bits"] = payload[8]
        elif name == b"cICP" and len(payload) == 4:
            facts["cicp"], facts["full_range"] = (payload[0], payload[1]), payload[3] != 0
    return Stored(**facts)


def _of_tiff(tags: Any) -> Stored:
    def numbers(tag: int) -> tuple[Any, ...]:
        value = tags.get(tag, ())
        return value if isinstance(value, tuple) else (value,)

    bits = numbers(BITS) or (1,)
    white, primaries = numbers(WHITE_POINT), numbers(PRIMARIES)
    whole = len(white) == 2 and len(primaries) == 6
    # Pillow inverts samples where 0 is white, but only for up to 8 bits.
    is_dark = tags.get(PHOTOMETRIC) == 0 and bits[0] > 8
    return Stored(
        format="TIFF",
        bits=bits[0],
        signed=2 in numbers(SAMPLE_FORMAT),
        white_is_zero=is_dark,
        chromaticities=tuple(float(n) for n in (*white, *primaries)) if whole else None,
    )


def _profile_of_jp2(data: bytes) -> bytes | None:
    """The profile in the header of a JPEG 2000 file, or None if there is none."""
    at = data.find(b"colr\2", 0, max(0, data.find(b"jp2c")))
    if at < 4:
        return None
    size = int.from_bytes(data[at - 4 : at], "big")
    return data[at + 7 : at - 4 + size] or None


def _nclx(data: bytes) -> tuple[int, int] | None:
    """The primaries and transfer function of an AVIF or HEIF file, or None if it has none.

    The first ones belong to the picture. Another picture in the file, such as a gain map, has its
    own after them.
    """
    at = data.find(b"colrnclx")
    if not 0 <= at <= len(data) - 12:
        return None
    primaries, transfer = struct.unpack_from(">HH", data, at + 8)
    return primaries, transfer
