"""Makes the pixels of an image or of a part of it from latents, at full size or smaller.

ŷ (h, w, M) ─► latents that the part needs ─► g_s, or a preview ─► bands of rows ─► pixels
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .crop import Box, latents_of
from .models.bands import Size
from .models.config import STRIDE_Y
from .models.inference import ReadRows
from .picture import Pixels
from .progress import Progress


class Synthesis(Protocol):
    """g_s, or a preview that replaces it."""

    def run(self, source: ReadRows, size: Size, take: Callable[[int, Tensor], None]) -> None:
        """See `Transform.run`."""


def synthesise(transform: Synthesis, y: Tensor, box: Box, scale: int, progress: Progress) -> Pixels:
    """Make the pixels of a part of an image at 1/scale of its size.

    Args:
        transform: makes pixels minus ½, at 1/scale of the size.
        y: the input of the transform for the whole image, (h, w, M).
        box: the part, which begins at multiples of `scale`, see `aligned`.

    Returns:
        (⌈height/scale⌉, ⌈width/scale⌉, 3), uint8, for a part of height × width pixels.
    """
    rows, columns = latents_of(box, *y.shape[:2])
    y = y[rows, columns]
    h, w, m = y.shape
    stride = STRIDE_Y // scale
    above, left = box.y // scale - rows.start * stride, box.x // scale - columns.start * stride
    height, width = -(-box.height // scale), -(-box.width // scale)
    pixels = np.empty((height, width, 3), np.uint8)

    def take(top: int, band: Tensor) -> None:
        progress((top + len(band)) / (h * stride))
        inside = slice(max(0, above - top), max(0, above + height - top))
        levels = band[inside, left : left + width] + 0.5
        levels = levels.mul_(255).round_().clamp_(0, 255).to(torch.uint8)
        first = max(0, top - above)
        pixels[first : first + len(levels)] = levels.cpu().numpy()

    transform.run(lambda first, last: y[first:last], (h, w, m), take)
    return pixels
