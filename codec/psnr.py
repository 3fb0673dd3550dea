"""Peak signal-to-noise ratio (PSNR), the usual measure of how similar two pictures are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Smaller mean squared errors count as this one, so that training logs have no infinite PSNR.
LEAST_MSE = 1e-10
#: How many rows are compared at once, so that a large picture takes little memory.
ROWS = 128


def psnr(a: NDArray[Any], b: NDArray[Any]) -> float:
    """PSNR of two (H, W, 3) uint8 arrays, in dB. It is inf if they are equal."""
    squared = 0  # an integer, so the sum is exact in any order
    for rows in range(0, len(a), ROWS):
        band = slice(rows, rows + ROWS)
        error = a[band].astype(np.int32) - b[band].astype(np.int32)
        squared += int(np.square(error).sum(dtype=np.int64))
    return 10 * math.log10(255**2 * a.size / squared) if squared else math.inf


def psnr_of_mse(mse: float) -> float:
    """PSNR of a mean squared error on the [0, 1] scale, in dB."""
    return -10 * math.log10(max(mse, LEAST_MSE))
