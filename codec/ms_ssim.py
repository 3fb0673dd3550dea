"""Multi-scale structural similarity. It agrees with what people see better than PSNR does."""

from __future__ import annotations

import math

import numpy as np

from .extras import of_extra
from .picture import Pixels

#: MS-SSIM halves the image four times and needs a window of 11 pixels at the end.
SMALLEST = 161
#: The weights of its five scales, from fine to coarse.
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
#: C₂ of SSIM for pixels 0 … 255. In windows with less variance than this, errors count less.
C2 = (0.03 * 255) ** 2
#: How many bytes of memory measuring takes per pixel.
MEMORY = 128


def ms_ssim(a: Pixels, b: Pixels) -> float | None:
    """Multi-scale structural similarity of two (H, W, 3) uint8 arrays, 0 … 1.

    This is the measure of Wang et al. 2003 with its five scales and weights, computed for each RGB
    channel and averaged, as for the published curves.

    Returns None if a side has fewer than 161 pixels, because five scales do not fit.

    Raises UsageError if the extra "evaluate" is not installed.
    """
    if min(a.shape[:2]) < SMALLEST:
        return None
    import torch

    with of_extra("evaluate", "MS-SSIM"):
        from pytorch_msssim import ms_ssim as measure

    def tensor(plane: Pixels) -> torch.Tensor:
        return torch.from_numpy(plane.astype(np.float32))[None, None]  # (1, 1, H, W)

    with torch.inference_mode():  # one channel at a time takes a third of the memory
        planes = ((tensor(a[..., channel]), tensor(b[..., channel])) for channel in range(3))
        return sum(float(measure(*pair, data_range=255, weights=[*WEIGHTS])) for pair in planes) / 3


def decibel(similarity: float) -> float:
    """MS-SSIM in dB, −10·log10(1 − MS-SSIM). It shows differences between good codecs better."""
    return -10 * math.log10(1 - similarity) if similarity < 1 else math.inf
