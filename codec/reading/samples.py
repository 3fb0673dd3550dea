"""Samples of any kind to 8 bits; alpha apart; and whether a picture is grey.

samples          black … white                                                 kind of note
16 bits          0 … 65535                                                     bits
12 bits          0 … 4095                                                      bits
32 bits          the least of 0 … 255, 0 … 65535, 0 … 2^32 − 1 that has all    range
signed integers  likewise, up to 2^7, 2^15 or 2^31 − 1; −2^7, −2^15 or −2^31
                 … 2^7, 2^15 or 2^31 − 1 where some are negative               range
floats           0 … 1; 0 … 255 where the brightest is 128 or more             range

Floats that lie at most a tenth of white outside are clipped. Floats of any other range are refused.
So are signed and 32-bit integers that use less than 1/16 of their range: they would come out black
or without contrast.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from ticodec.errors import BadInputError
from ticodec.notes import Note
from ticodec.picture import Pixels

from .stored import UNKNOWN, Stored

#: Wide samples that use a smaller share of their range would come out all black or all grey.
LEAST_USED = 1 / 16
#: How far floats may lie below black or above white, as a share of white; they are clipped.
OVERSHOOT = 0.1
#: How many rows are compared at once.
ROWS = 64


def eight_bit(
    image: Image.Image, notes: list[Note], stored: Stored = UNKNOWN
) -> tuple[Image.Image, Pixels | None]:
    """An image of 8 bits a channel without alpha, and its alpha (H, W) uint8; None: it is opaque.

    The table above says what becomes black and white.

    Args:
        image: of any mode, upright.
        notes: a note on what is lost is added here.
        stored: how the file stores its samples.

    Raises BadInputError for floats, signed and 32-bit integers that would come out without
    contrast, or of which it is not clear what white is.
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
        if image.mode in ("La", "RGBa"):  # multiplied by alpha
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
            return False  # at the first colours, so that it is quick on most photos
    return True


def _wide(image: Image.Image, stored: Stored) -> Any:
    """Samples (H, W) as numbers of the file's own type."""
    samples = np.asarray(image)
    if image.mode == "L":
        return samples.view(np.int8)
    if image.mode == "I" and stored.bits == 32 and not stored.signed:
        return samples.view(np.uint32)
    if image.mode.startswith("I;") and stored.signed:
        return samples.astype(np.uint16).view(np.int16)
    return samples


def _from_integers(samples: Any, stored: Stored, notes: list[Note]) -> Pixels:
    """Samples of 8, 16 or 32 bits, or between, to levels 0 … 255."""
    bits = stored.bits or 8 * samples.dtype.itemsize
    is_signed = stored.signed or (not stored.bits and samples.dtype.kind == "i")
    least, most = int(samples.min()), int(samples.max())
    top = 2 ** (bits - is_signed) - 1
    if least < 0:
        black, white = -top - 1, top
    else:
        black, white = 0, next(w for w in (255, 65535, top) if most <= w) if bits > 16 else top
    if not is_signed and bits <= 16:
        notes.append(Note("bits", f"{bits} bits a channel are reduced to 8"))
        table = _scaled(np.arange(white + 1), 0, white)
        return table[samples.clip(max=white)]
    used = most - min(least, 0)
    is_black = least == most == 0
    if white > 255 and used < LEAST_USED * (white - black) and not is_black:
        raise BadInputError(
            f"integer samples from {least:,} to {most:,}, of {bits} bits, would come out without "
            "contrast; scale them to 0 … 65,535 first"
        )
    text = f"{bits}-bit integers are reduced to 8 bits, with {black:,} as black, {white:,} as white"
    notes.append(Note("range", text))
    return _scaled(samples, black, white)


def _from_floats(samples: Any, notes: list[Note]) -> Pixels:
    """Floats to levels 0 … 255."""
    known = np.isfinite(samples)
    if not known.any():
        raise BadInputError("none of its float samples is a number")
    least, most = float(samples[known].min()), float(samples[known].max())
    white = 1 if most <= 1 + OVERSHOOT else 255
    if least < -OVERSHOOT * white or (white > 1 and not 128 <= most <= (1 + OVERSHOOT) * white):
        raise BadInputError(
            f"float samples from {least:g} to {most:g}: it is not clear what is black and white; "
            "scale them to 0 … 1 first"
        )
    text = f"float samples are reduced to 8 bits, with 0 as black, {white} as white"
    if least < 0 or most > white:
        text += ", those outside are clipped"
    if not known.all():
        text += ", those that are no numbers become black"
        samples = np.where(known, samples, 0)
    notes.append(Note("range", text))
    return _scaled(samples, 0, white)


def _scaled(samples: Any, black: int, white: int) -> Pixels:
    """Samples to levels, 0 for black and 255 for white; those outside are clipped."""
    levels = (samples.astype(np.float32) - black) * (255 / (white - black))
    return levels.round().clip(0, 255).astype(np.uint8)
