"""Decides whether a photo may be deleted because its `.tic` file can replace it.

notes of the photo ─► is something lost? ────────────────────────► then the photo is kept
photo, read again ─► opened by Pillow alone ─┐
`.tic` file, read back ─► decoded ───────────┴─► pixels close? all metadata present? ─► PSNR

In doubt the photo is kept, because it may be the only copy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps

from ticodec import sections
from ticodec.notes import LARGER, Note
from ticodec.picture import Picture, Pixels
from ticodec.psnr import psnr
from ticodec.reading.opening import open_image
from ticodec.reading.options import Reading

#: A photo is deleted only if its decoded picture has at least this PSNR, in dB.
LEAST_PSNR = 20.0
#: The PSNR in dB that is reported for equal pictures, because JSON has no infinity.
SAME_PSNR = 100.0


class Verdict(NamedTuple):
    """The result of a check.

    Args:
        doubt: why the photo has to be kept, or "" if it may be deleted.
        psnr: PSNR in dB of the decoded picture against the photo, or None if they cannot be
            compared.
    """

    doubt: str
    psnr: float | None = None


def why_kept(notes: Iterable[Note]) -> str:
    """Why a photo with these notes is kept, or "" if nothing of it is lost.

    A photo whose `.tic` file is larger is kept too, because deleting it would save nothing.
    """
    return "; ".join(note.text for note in notes if note.lost or note.kind == LARGER)


def verify(
    photo: bytes, source: Picture, decoded: Picture, reading: Reading, max_pixels: int
) -> Verdict:
    """Check whether the decoded picture of a `.tic` file can replace its photo.

    Args:
        photo: the bytes of the photo, read again.
        source: the picture that was encoded.
        decoded: the whole picture of the `.tic` file, which was read back from its place.
        reading: how the photo was read.

    Raises BadInputError when the photo can no longer be read.
    """
    if decoded.pixels.shape != source.pixels.shape:
        return Verdict("the decoded picture has another width or height")
    if decoded.metadata != source.metadata:
        return Verdict("the decoded picture has other metadata")
    if not np.array_equal(_alpha(decoded), _alpha(source)):
        return Verdict("the decoded picture is transparent in other places")
    # Our own code that reads photos may be wrong. So Pillow alone opens the file once more.
    image, _ = open_image(photo, max_pixels, reading=reading)
    if missing := _missing(image, decoded, reading):
        return Verdict(f"the .tic file does not have the photo's {', '.join(missing)}")
    plain = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    if plain.shape != decoded.pixels.shape:
        return Verdict("the decoded picture has another width or height")
    decibels = min(psnr(decoded.pixels, source.pixels), psnr(decoded.pixels, plain), SAME_PSNR)
    far = f"the decoded picture is far from the photo: {decibels:.1f} dB, not {LEAST_PSNR:.0f}"
    far += " or more; a higher `quality` may help"
    return Verdict(far if decibels < LEAST_PSNR else "", decibels)


def _alpha(picture: Picture) -> Pixels:
    """The alpha plane (H, W) uint8. For an opaque picture all samples are 255."""
    opaque = np.full(picture.pixels.shape[:2], 255, np.uint8)
    return opaque if picture.alpha is None else picture.alpha


def _missing(image: Image.Image, decoded: Picture, reading: Reading) -> list[str]:
    """Names of metadata that a photo has and its decoded picture lacks.

    Metadata that the user asked to leave out does not count. Neither does the ICC profile of a grey
    picture, nor EXIF that holds only the orientation.
    """
    if reading.strip or reading.strip_location:
        return []
    return [
        section.name.upper()
        for section in sections.metadata()
        if image.info.get(section.key)
        and section.name not in decoded.metadata
        and not (section.name == "icc" and decoded.grey)
        and not (section.name == "exif" and set(image.getexif()) <= {ExifTags.Base.Orientation})
    ]
