"""Rounding that counts bits: a latent goes one step towards its mean where that pays.

Rounded to the nearest symbol s, a latent has an error e. With the symbol next to s, nearer to zero,
it has the error 1 - |e| and costs fewer bits. The step is taken if the bits that it saves are more
than what the larger error costs, `errors` of the channel times ((1 - |e|)² - e²).

Only the encoder rounds. A decoder takes any symbols.
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
        errors: bits that the square of an error is worth, of each channel, (M,), float32.
        savings: see `savings_of`.
    """

    errors: NDArray[np.float32]
    savings: NDArray[np.float32]

    def __call__(self, steps: NDArray[np.float64], indexes: Ints) -> Ints:
        """Latents less their means, (P, M), within the range of symbols, to symbols.

        Args:
            indexes: of the scale tables, (P, M).
        """
        symbols = np.rint(steps)
        magnitudes = np.abs(symbols).astype(np.int64)
        saved = self.savings[indexes, (magnitudes - 1).clip(0, MAGNITUDES - 1)].astype(np.float64)
        worse = 1 + 2 * (np.abs(steps) - magnitudes)  # the difference of the squares
        near = (magnitudes > 0) & (magnitudes <= MAGNITUDES)
        pays = near & (saved > self.errors.astype(np.float64) * worse)
        return (symbols - np.where(pays, np.sign(symbols), 0)).astype(np.int64)


def savings_of(tables: Tables) -> NDArray[np.float32]:
    """Bits that a step towards zero saves: (tables, MAGNITUDES), from magnitude k + 1 to k.

    Nothing beyond the symbols that a table has, where escapes are written.
    """
    savings = np.zeros((len(tables.halves), MAGNITUDES), np.float32)
    firsts = (2 * tables.halves + 1).cumsum() - (2 * tables.halves + 1)
    for row, first, half in zip(savings, firsts, tables.halves, strict=True):
        known = min(half, MAGNITUDES + 1)
        bits = -np.log2(tables.frequencies[first + half : first + half + known] / TOTAL)
        row[: known - 1] = np.diff(bits)
    return savings
