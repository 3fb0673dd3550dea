"""Rounding that counts bits: rate-distortion optimised quantisation (RDOQ).

A latent less its mean, v, is rounded to the nearest symbol s. With e = |v| - |s|, from -½ to ½, its
error is e. The next symbol towards zero has the error 1 + e, and usually takes fewer bits. It is
taken if the bits that it saves are more than `errors` of the channel times (1 + e)² - e² = 1 + 2e.

Only the encoder does this: decoders take any symbols.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .rans import Ints, Tables
from .rans_tables import TOTAL

#: Symbols further from zero than this are rounded to the nearest: MAGNITUDES in wavefront.h.
MAGNITUDES = 16


class Rounding(NamedTuple):
    """How latents are rounded.

    Args:
        errors: bits that a squared error of 1 costs, for each channel, (M,), float32.
        savings: what `savings_of` gives, (tables, MAGNITUDES), float32.
    """

    errors: NDArray[np.float32]
    savings: NDArray[np.float32]

    def __call__(self, steps: NDArray[np.float64], indexes: Ints) -> Ints:
        """Latents less their means to symbols, (P, M) both; wavefront.c does the same.

        Args:
            steps: the latents, within the range of symbols.
            indexes: of their tables, (P, M).
        """
        symbols = np.rint(steps)
        magnitudes = np.abs(symbols).astype(np.int64)
        saved = self.savings[indexes, (magnitudes - 1).clip(0, MAGNITUDES - 1)].astype(np.float64)
        worse = 1 + 2 * (np.abs(steps) - magnitudes)  # 1 + 2e
        near = (magnitudes > 0) & (magnitudes <= MAGNITUDES)
        pays = near & (saved > self.errors.astype(np.float64) * worse)
        return (symbols - np.where(pays, np.sign(symbols), 0)).astype(np.int64)


def savings_of(tables: Tables) -> NDArray[np.float32]:
    """Bits that a step from magnitude k + 1 to k saves, k = 0 …: (tables, MAGNITUDES), float32.

    0 where magnitude k + 1 is beyond the symbols of a table, and so is written as an escape.
    """
    savings = np.zeros((len(tables.halves), MAGNITUDES), np.float32)
    firsts = (2 * tables.halves + 1).cumsum() - (2 * tables.halves + 1)
    for row, first, half in zip(savings, firsts, tables.halves, strict=True):
        known = min(half, MAGNITUDES + 1)
        bits = -np.log2(tables.frequencies[first + half : first + half + known] / TOTAL)
        row[: known - 1] = np.diff(bits)
    return savings
