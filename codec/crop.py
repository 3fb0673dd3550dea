"""Decoding a part of an image: which latents it takes.

image │ halo 320 px │ crop │ halo │     the synthesis transform runs on crop and halo alone

What is farther from a pixel than the halo hardly moves it. A part that `tic-plus` decodes has 70 dB
or more against the same part of the whole image, in float32 and in bf16, and no value is more than
a grey level off. With `tic-lite` hardly any value differs. The part begins and ends at multiples of
64 pixels, or at an edge of the image, so that windows of attention are those of the whole image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .errors import UsageError
from .models.config import STRIDE_Y

#: Pixels around the crop that are synthesised with it.
HALO = 320
#: What a part begins and ends at multiples of, in pixels: the windows of all layers.
ALIGNMENT = 64


class Box(NamedTuple):
    """A part of an image, in pixels: its left column, its top row, and its size."""

    x: int
    y: int
    width: int
    height: int


def box_of(crop: Sequence[int] | None, height: int, width: int) -> Box:
    """The part that a `crop` (x, y, width, height) of an image of that size means; None: all of it.

    Raises UsageError unless it has pixels and lies within the image.
    """
    if crop is None:
        return Box(0, 0, width, height)
    numbers = list(crop) if isinstance(crop, Sequence) and not isinstance(crop, str) else []
    if len(numbers) != 4 or not all(isinstance(n, int | np.integer) for n in numbers):
        raise UsageError(f"`crop` must be four whole numbers, (x, y, width, height), not {crop!r}")
    box = Box(*map(int, numbers))
    for name, value, least in zip(Box._fields, box, (0, 0, 1, 1), strict=True):
        if value < least:
            raise UsageError(f"`crop` must have {name} {least} or more, not {value}")
    if box.x + box.width > width or box.y + box.height > height:
        raise UsageError(
            f"`crop` must lie within the image: {box.width}×{box.height} pixels from "
            f"({box.x}, {box.y}) do not; the image has {width}×{height}"
        )
    return box


def aligned(box: Box, scale: int, height: int, width: int) -> Box:
    """A part of an image of that size, and what it takes to begin and end at multiples of `scale`.

    It may end at an edge of the image instead.
    """
    x, y = box.x // scale * scale, box.y // scale * scale
    right = min(width, -(-(box.x + box.width) // scale) * scale)
    bottom = min(height, -(-(box.y + box.height) // scale) * scale)
    return Box(x, y, right - x, bottom - y)


def latents_of(box: Box, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of the latents that a part needs, of all height × width of them."""
    return _covering(box.y, box.height, height), _covering(box.x, box.width, width)


def _covering(start: int, length: int, latents: int) -> slice:
    first = max(0, start - HALO) // ALIGNMENT * ALIGNMENT
    last = -(-(start + length + HALO) // ALIGNMENT) * ALIGNMENT
    return slice(first // STRIDE_Y, min(last // STRIDE_Y, latents))
