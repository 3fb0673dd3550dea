"""Symbols coded in Python, for machines without a compiled coder. It is slow.

It is also the shortest description of a stream. `ticodec.entropy.rans` explains the idea.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import chain, repeat

import numpy as np

from .rans_tables import Ints, Slices

#: The state is never below this, except when a damaged stream is decoded.
LOWER_BOUND = 1 << 31
BITS = 16
MASK = (1 << BITS) - 1
WORD = (1 << 32) - 1


class PythonEncoder:
    """A `SymbolEncoder`. It collects slices, and codes them from the last to the first."""

    def __init__(self) -> None:
        self._slices: list[tuple[int, int]] = []

    def encode(self, values: Ints, indexes: Ints, slices: Slices) -> None:
        for value, index in zip(values.tolist(), indexes.tolist(), strict=True):
            cdf, symbol = slices.cdfs[index], value - slices.offsets[index]
            self._slices.append((cdf[symbol], cdf[symbol + 1] - cdf[symbol]))

    def finish(self) -> bytes:
        state, words = LOWER_BOUND, []
        for start, width in reversed(self._slices):
            if state >= width << 47:
                words.append(state & WORD)
                state >>= 32
            state = (state // width << BITS) + state % width + start
        self._slices = []
        words += [state >> 32, state & WORD]
        return b"".join(word.to_bytes(4, "little") for word in reversed(words))


class PythonDecoder:
    """A `SymbolDecoder`. It reads at most one word per symbol, and zeros after the last word."""

    def __init__(self, data: bytes) -> None:
        words = (data[at : at + 4] for at in range(0, len(data), 4))
        self._words = chain((int.from_bytes(word, "little") for word in words), repeat(0))
        self._state = next(self._words) | next(self._words) << 32

    def decode(self, indexes: Ints, slices: Slices) -> Ints:
        state, values = self._state, []
        for index in indexes.tolist():
            cdf, slot = slices.cdfs[index], state & MASK
            symbol = bisect_right(cdf, slot) - 1
            values.append(symbol + slices.offsets[index])
            start, end = cdf[symbol], cdf[symbol + 1]
            state = (end - start) * (state >> BITS) + slot - start
            if state < LOWER_BOUND:
                state = state << 32 | next(self._words)
        self._state = state
        return np.array(values, np.int64)
