"""Whether a photo may be deleted, since its `.tic` file can replace it.

notes of the photo ─► is something lost? ────────────────────────► then it is kept
photo, read anew ─► opened by Pillow alone ─┐
`.tic` file, read back ─► decoded ──────────┴─► is it near? is all metadata there? ─► PSNR

When in doubt the photo is kept: it may be the only one.
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
#: The PSNR in dB that is reported for equal pictures, since JSON has no infinity.
SAME_PSNR = 100.0


class Verdict(NamedTuple):
    """What came of a check.

    Args:
        doubt: why the photo has to be kept; "": it may be deleted.
        psnr: of the decoded picture against the photo, in dB; None: they cannot be compared.
    """

    doubt: str
    psnr: float | None = None


def why_kept(notes: Iterable[Note]) -> str:
    """Why a photo is kept that has these notes; "": nothing of it is lost.

    One whose `.tic` file is larger is kept too: it would be a loss without a gain.
    """
    return "; ".join(note.text for note in notes if note.lost or note.kind == LARGER)


def verify(
    photo: bytes, source: Picture, decoded: Picture, reading: Reading, max_pixels: int
) -> Verdict:
    """Whether the decoded picture of a `.tic` file can stand in for its photo.

    Args:
        photo: the file, read anew. source: what was encoded of it.
        decoded: the whole picture of the `.tic` file, as it was read back from where it is.
        reading: how the photo was read.

    Raises BadInputError when the photo cannot be read any more.
    """
    if decoded.pixels.shape != source.pixels.shape:
        return Verdict("the decoded picture has another width or height")
    if decoded.metadata != source.metadata:
        return Verdict("the decoded picture has other metadata")
    if not np.array_equal(_alpha(decoded), _alpha(source)):
        return Verdict("the decoded picture is transparent in other places")
    # Our own reading of the photo may be wrong. So the file is opened once more, by Pillow alone.
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
    """The alpha plane (H, W) uint8, of opaque pictures too."""
    opaque = np.full(picture.pixels.shape[:2], 255, np.uint8)
    return opaque if picture.alpha is None else picture.alpha


def _missing(image: Image.Image, decoded: Picture, reading: Reading) -> list[str]:
    """Names of metadata that a photo has and its decoded picture lacks without its owner's wish.

    A grey picture needs no ICC profile. No picture needs EXIF that has only the orientation.
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
