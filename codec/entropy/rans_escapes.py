"""Escapes for values outside their tables, on top of a coder that has none.

compressai's coder and the coder in Python only code symbols that are in a table. This module adds
the escapes, in numpy. The C extension has its own code for escapes, which writes the same form
(`native/rans.h`). `ticodec.entropy.rans` describes the form.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ticodec.errors import BadInputError

from .rans_tables import TOTAL, Ints, Slices, Tables

DIGITS = 4
#: The largest excess over K that four hexadecimal digits can hold.
EXCESS_MAX = 16**DIGITS - 1
#: The most rANS symbols that one value takes, with its escape.
WORST = 2 + DIGITS

#: Symbol 0 of this table has probability 1 - 2^-16: it costs no bits.
_FREE = Slices([[0, TOTAL - 1, TOTAL, TOTAL]], [4], [0])
_HEX = Slices([[*range(0, TOTAL + 1, TOTAL // 16), TOTAL]], [18], [0])


class SymbolEncoder(Protocol):
    """Codes values that are inside their tables. The caller has checked all indexes."""

    def encode(self, values: Ints, indexes: Ints, slices: Slices) -> None: ...

    def finish(self) -> bytes:
        """Returns the stream. The encoder is empty afterwards."""


class SymbolDecoder(Protocol):
    """Decodes values from any bytes, and from zeros after the last byte.

    The caller has checked all indexes.
    """

    def decode(self, indexes: Ints, slices: Slices) -> Ints: ...


def _digit_counts(excess: Ints) -> Ints:
    """How many hexadecimal digits each excess needs. An excess of 0 needs no digit."""
    counts = np.zeros(len(excess), np.int64)
    for digit in range(DIGITS):
        counts += excess >= 16**digit
    return counts


def _powers(counts: Ints) -> Ints:
    """The exponent of 16 of every digit of numbers that have `counts` digits, lowest digit first.

    [2, 1] ─► [0, 1, 0]
    """
    return np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)


class EscapeWriter:
    """A `Writer` that uses a `SymbolEncoder`."""

    native = None

    def __init__(self, encoder: SymbolEncoder) -> None:
        self._encoder = encoder

    def write(self, values: Ints, indexes: Ints, tables: Tables) -> None:
        halves = tables.halves[indexes]
        outside = np.flatnonzero((values >= halves) | (values <= -halves))
        outliers, ends = values[outside], halves[outside]
        # K is subtracted from positive numbers and added to negative ones, so neither overflows.
        excess = np.where(outliers > 0, outliers - ends, -(outliers + ends))
        if excess.max(initial=0) > EXCESS_MAX:
            raise ValueError("a value is too far outside its table")
        self._encoder.encode(np.clip(values, -halves, halves), indexes, tables.slices)
        counts = _digit_counts(excess)
        self._hex(counts)
        self._hex(np.repeat(excess, counts) >> 4 * _powers(counts) & 15)

    def _hex(self, digits: Ints) -> None:
        if len(digits):
            self._encoder.encode(digits, np.zeros_like(digits), _HEX)

    def finish(self) -> bytes:
        self._encoder.encode(np.zeros(4, np.int64), np.zeros(4, np.int64), _FREE)
        return self._encoder.finish()


class EscapeReader:
    """A `Reader` that uses a `SymbolDecoder`."""

    native = None

    def __init__(self, decoder: SymbolDecoder, count: int) -> None:
        self._decoder, self._left = decoder, count

    def read(self, indexes: Ints, tables: Tables) -> Ints:
        if len(indexes) > self._left:
            raise BadInputError("damaged file: the entropy stream ends too early")
        self._left -= len(indexes)
        values = self._decoder.decode(indexes, tables.slices)
        outside = np.flatnonzero(np.abs(values) == tables.halves[indexes])
        if len(outside):
            counts = self._hex(len(outside))
            if counts.max() > DIGITS:
                raise BadInputError("damaged file: impossible symbol in an entropy stream")
            digits = self._hex(int(counts.sum()))
            excess = np.zeros(len(outside), np.int64)
            whose = np.repeat(np.arange(len(outside)), counts)
            np.add.at(excess, whose, digits << 4 * _powers(counts))
            values[outside] += np.sign(values[outside]) * excess
        return values

    def _hex(self, count: int) -> Ints:
        return self._decoder.decode(np.zeros(count, np.int64), _HEX)
