"""Rounding that counts bits: rate-distortion optimised quantisation (RDOQ).

Let v be a latent minus its mean. The nearest symbol s has the error e = |v| - |s|, from -½ to ½.
The next symbol towards zero has the error 1 + e, and usually takes fewer bits. It is chosen if it
saves more than λ · ((1 + e)² - e²) = λ · (1 + 2e) bits, with λ = `Rounding.errors` of the channel.

Only the encoder does this. Decoders accept any symbols.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .rans import Ints, Tables
from .rans_tables import TOTAL

#: If the nearest symbol is further from zero than this, it is always taken. wavefront.h has the
#: same constant.
MAGNITUDES = 16


class Rounding(NamedTuple):
    """How latents are rounded.

    Args:
        errors: how many bits a squared error of 1 is worth, for each channel, (M,), float32.
        savings: the result of `savings_of`, (tables, MAGNITUDES), float32.
    """

    errors: NDArray[np.float32]
    savings: NDArray[np.float32]

    def __call__(self, steps: NDArray[np.float64], indexes: Ints) -> Ints:
        """Rounds latents minus their means to symbols, (P, M). wavefront.c does the same.

        Args:
            steps: the latents minus their means, (P, M), within the range of symbols.
            indexes: the numbers of their tables, (P, M).
        """
        symbols = np.rint(steps)
        magnitudes = np.abs(symbols).astype(np.int64)
        saved = self.savings[indexes, (magnitudes - 1).clip(0, MAGNITUDES - 1)].astype(np.float64)
        worse = 1 + 2 * (np.abs(steps) - magnitudes)  # 1 + 2e
        near = (magnitudes > 0) & (magnitudes <= MAGNITUDES)
        pays = near & (saved > self.errors.astype(np.float64) * worse)
        return (symbols - np.where(pays, np.sign(symbols), 0)).astype(np.int64)


def savings_of(tables: Tables) -> NDArray[np.float32]:
    """Bits that are saved by magnitude k instead of k + 1: (tables, MAGNITUDES), float32.

    k counts columns from 0. The saving is 0 if magnitude k + 1 needs an escape, because it is the
    last symbol of the table or beyond.
    """
    savings = np.zeros((len(tables.halves), MAGNITUDES), np.float32)
    firsts = (2 * tables.halves + 1).cumsum() - (2 * tables.halves + 1)
    for row, first, half in zip(savings, firsts, tables.halves, strict=True):
        known = min(half, MAGNITUDES + 1)
        bits = -np.log2(tables.frequencies[first + half : first + half + known] / TOTAL)
        row[: known - 1] = np.diff(bits)
    return savings
