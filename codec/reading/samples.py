"""Converts samples of any kind to 8 bits, and separates alpha. Also finds out if a picture is grey.

samples          black … white                                                 kind of note
16 bits          0 … 65535                                                     bits
12 bits          0 … 4095                                                      bits
32 bits          the smallest of 0 … 255, 0 … 65535 and 0 … 2^32 − 1 that
                 contains all samples                                          range
signed integers  if none is negative: from 0, up to 2^7 − 1, 2^15 − 1 or
                 2^31 − 1, as for 32 bits                                      range
                 if some are negative: the whole range of their type           range
floats           0 … 1, or 0 … 255 if the brightest sample is 128 or more      range

Floats outside of their range by at most a tenth of it are clipped. Floats of any other range are
refused. Signed and 32-bit integers are refused if they use less than 1/16 of their range, because
they would become black, or have no contrast.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from ticodec.errors import BadInputError
from ticodec.notes import Note
from ticodec.picture import Pixels

from .stored import UNKNOWN, Stored

#: Wide samples must use at least this share of their range. Others would become all black or grey.
LEAST_USED = 1 / 16
#: By how much floats may be below black or above white, as a share of white. They are clipped.
OVERSHOOT = 0.1
#: How many rows are compared at once.
ROWS = 64


def eight_bit(
    image: Image.Image, notes: list[Note], stored: Stored = UNKNOWN
) -> tuple[Image.Image, Pixels | None]:
    """Convert an image to 8 bits per channel, and separate its alpha.

    The table in the module's docstring says what becomes black and white.

    Args:
        image: of any mode, upright.
        notes: gets a note on what is lost.
        stored: how the file stores its samples.

    Returns:
        The image without alpha, and its alpha, (H, W), uint8, which is None if it is opaque.

    Raises BadInputError for floats, signed and 32-bit integers that would have no contrast, or for
    which it is not clear what white is.
    """
    alpha = None
    if image.mode.startswith("I") or image.mode == "F" or (image.mode == "L" and stored.signed):
        wide = _wide(image, stored)
        key = image.info.get("transparency")
        if key is not None:
            alpha = np.where(wide == key, 0, 255).astype(np.uint8)
        levels = (
            _from_floats(wide, notes) if image.mode == "F" else _from_integers(wide, stored, notes)
        )
        image = Image.fromarray(255 - levels if stored.white_is_zero else levels)
    elif image.has_transparency_data:
        if image.mode in ("La", "RGBa"):  # colours are multiplied by alpha
            image = image.convert(image.mode.upper())
        image = image.convert("RGBA")
        alpha = np.array(image.getchannel("A"))
        image = image.convert("RGB")
    if alpha is not None and (alpha == 255).all():
        alpha = None
    return image, alpha


def is_grey(pixels: Pixels, tolerance: int = 0) -> bool:
    """Whether the three channels of (H, W, 3) uint8 pixels are the same everywhere.

    Args:
        tolerance: the most levels by which the channels of a pixel may differ.
    """
    for first in range(0, len(pixels), ROWS):
        rows = pixels[first : first + ROWS]
        red, green, blue = (rows[..., channel] for channel in range(3))
        if tolerance:
            most = np.maximum(np.maximum(red, green), blue)
            least = np.minimum(np.minimum(red, green), blue)
            same = bool((most - least <= tolerance).all())
        else:
            same = np.array_equal(red, green) and np.array_equal(green, blue)
        if not same:
            return False  # most photos have colours in the first rows, so this is fast
    return True


def _wide(image: Image.Image, stored: Stored) -> Any:
    """The samples (H, W) as numbers of the type that the file has."""
    samples = np.asarray(image)
    if image.mode == "L":
        return samples.view(np.int8)
    if image.mode == "I" and stored.bits == 32 and not stored.signed:
        return samples.view(np.uint32)
    if image.mode.startswith("I;") and stored.signed:
        return samples.astype(np.uint16).view(np.int16)
    return samples


def _from_integers(samples: Any, stored: Stored, notes: list[Note]) -> Pixels:
    """Convert integers of up to 32 bits to levels 0 … 255."""
    bits = stored.bits or 8 * samples.dtype.itemsize
    is_signed = stored.signed or (not stored.bits and samples.dtype.kind == "i")
    least, most = int(samples.min()), int(samples.max())
    top = 2 ** (bits - is_signed) - 1
    if least < 0:
        black, white = -top - 1, top
    else:
        black, white = 0, next(w for w in (255, 65535, top) if most <= w) if bits > 16 else top
    if not is_signed and bits <= 16:
        notes.append(Note("bits", f"{bits} bits per channel are reduced to 8"))
        table = _scaled(np.arange(white + 1), 0, white)
        return table[samples.clip(max=white)]
    used = most - min(least, 0)
    is_black = least == most == 0
    if white > 255 and used < LEAST_USED * (white - black) and not is_black:
        raise BadInputError(
            f"{bits}-bit integer samples from {least:,} to {most:,} would have no contrast; "
            "scale them to 0 … 65,535 first"
        )
    text = f"{bits}-bit integers are reduced to 8 bits: {black:,} is black, {white:,} is white"
    notes.append(Note("range", text))
    return _scaled(samples, black, white)


def _from_floats(samples: Any, notes: list[Note]) -> Pixels:
    """Convert floats to levels 0 … 255."""
    known = np.isfinite(samples)
    if not known.any():
        raise BadInputError("none of its float samples is a number")
    least, most = float(samples[known].min()), float(samples[known].max())
    white = 1 if most <= 1 + OVERSHOOT else 255
    if least < -OVERSHOOT * white or (white > 1 and not 128 <= most <= (1 + OVERSHOOT) * white):
        raise BadInputError(
            f"float samples from {least:g} to {most:g}: it is not clear which values are black and "
            "white; scale them to 0 … 1 first"
        )
    text = f"float samples are reduced to 8 bits: 0 is black, {white} is white"
    if least < 0 or most > white:
        text += ", samples outside are clipped"
    if not known.all():
        text += ", samples that are not numbers become black"
        samples = np.where(known, samples, 0)
    notes.append(Note("range", text))
    return _scaled(samples, 0, white)


def _scaled(samples: Any, black: int, white: int) -> Pixels:
    """Convert samples to levels: 0 for black and 255 for white. Samples outside are clipped."""
    levels = (samples.astype(np.float32) - black) * (255 / (white - black))
    return levels.round().clip(0, 255).astype(np.uint8)
