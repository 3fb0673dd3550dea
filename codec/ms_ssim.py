"""Multi-scale structural similarity, which follows what people see better than PSNR does."""

from __future__ import annotations

import math

import numpy as np

from .extras import of_extra
from .picture import Pixels

#: MS-SSIM halves the image four times and needs a window of 11 pixels at the end.
SMALLEST = 161
#: The weights of its five scales, from fine to coarse.
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
#: C₂ of SSIM for pixels 0 … 255: where a window has less variance than this, errors count less.
C2 = (0.03 * 255) ** 2
#: Bytes of memory that it takes for each pixel.
MEMORY = 128


def ms_ssim(a: Pixels, b: Pixels) -> float | None:
    """Multi-scale structural similarity of two (H, W, 3) uint8 arrays, 0 … 1.

    Wang et al. 2003 with its five scales and weights, per RGB channel, then the mean, as the
    published curves have it. None when a side is under 161 pixels: five scales do not fit.

    Raises UsageError where the extra "evaluate" is not installed.
    """
    if min(a.shape[:2]) < SMALLEST:
        return None
    import torch

    with of_extra("evaluate", "MS-SSIM"):
        from pytorch_msssim import ms_ssim as measure

    def tensor(plane: Pixels) -> torch.Tensor:
        return torch.from_numpy(plane.astype(np.float32))[None, None]  # (1, 1, H, W)

    with torch.inference_mode():  # one channel after the other takes a third of the memory
        planes = ((tensor(a[..., channel]), tensor(b[..., channel])) for channel in range(3))
        return sum(float(measure(*pair, data_range=255, weights=[*WEIGHTS])) for pair in planes) / 3


def decibel(similarity: float) -> float:
    """MS-SSIM in dB, −10·log10(1 − MS-SSIM), which separates good codecs better."""
    return -10 * math.log10(1 - similarity) if similarity < 1 else math.inf
