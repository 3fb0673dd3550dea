"""Entropy coding by compressai's rANS, behind a guard that makes it safe on any bytes.

How range asymmetric numeral systems (rANS) code a symbol
---------------------------------------------------------
The coder's state is one integer. A table gives every symbol a slice of the numbers
0 … 65535, as wide as it is probable:

    table of scale 0.6, half-width K = 2

      0      27            13,300                        52,236          65,509   65,536
      ├──────┼───────────────┼──────────────────────────────┼────────────────┼──────┤
        -2          -1                     0                        +1          +2

Decoding looks at the state's low 16 bits, finds the slice they fall into (that is the
symbol), and shrinks the state by the slice's width; when the state gets small, one
32-bit word is read from the stream. Encoding is the exact inverse, run backwards from
the last symbol to the first. A symbol of probability p costs log2(1/p) bits.

Everything here is integers, so encoder and decoder agree if they use the same table for the
same symbol. The tables are stored in the weights. Which table a symbol uses, and the mean
that is added to it, come from `ticodec.entropy.exact`.

Why the guard
-------------
`compressai.ans` does not check bounds: fed with a damaged stream it reads past its
buffer, and its own escape codes have unbounded length. Here

  * a container's CRC is checked before any of this runs;
  * no table has an escape symbol (its frequency is 0, so it is never decoded);
    therefore each symbol reads at most one 32-bit word, after two for the start, and
    a buffer with 4·n + 8 zero bytes behind it cannot be left within n symbols;
  * the guard counts the symbols and refuses to decode more than n.

Its encoder has a buffer of one word a symbol, but a stream of one to three symbols takes
up to n/2 + 3 words, and aborts the process. A writer therefore closes every stream with
four symbols that cost nothing and that no reader reads.

Outliers have an escape of our own: a table covers -K … K, and its two end symbols
mean "K or further". After the symbols of a call come two lists, both coded with a uniform
table: for every end symbol the number of hexadecimal digits of its excess (0 to 4), and
then all the digits. So a value costs at most 1 + 1 + 4 rANS symbols: `WORST` below.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ticodec.errors import BadInputError, TicodecError

Ints = NDArray[np.int64]

TOTAL = 1 << 16
DIGITS = 4
#: Largest excess over K that four hexadecimal digits hold.
EXCESS_MAX = 16**DIGITS - 1
#: rANS symbols that one value can take, escapes included.
WORST = 2 + DIGITS


@cache
def _extension() -> Any:
    """compressai's compiled coder, loaded by its path.

    Importing the package instead would run compressai/__init__, which pulls in
    torchvision, scipy and more: 2.5 s, none of it needed to code symbols.
    """
    spec = importlib.util.find_spec("compressai")
    for folder in (spec.submodule_search_locations if spec else None) or []:
        for suffix in EXTENSION_SUFFIXES:
            path = Path(folder) / f"ans{suffix}"
            if path.exists():
                loader = ExtensionFileLoader("compressai.ans", str(path))
                of_file = importlib.util.spec_from_file_location(
                    "compressai.ans", path, loader=loader
                )
                assert of_file is not None
                module = importlib.util.module_from_spec(of_file)
                loader.exec_module(module)
                sys.modules.setdefault("compressai.ans", module)
                return module
    raise TicodecError(
        "compressai's coder is missing; reinstall with: pip install --force compressai"
    )


class Tables:
    """Ragged integer frequency tables; table i covers the values -K_i … K_i.

    Args:
        halves: K of each table, (tables,), at least 1.
        frequencies: of all tables, one after the other. Table i has 2K_i + 1 positive integers
            that sum to 65536.

    Raises BadInputError when the numbers are not such tables: coding with them would not be safe.
    """

    def __init__(self, halves: Ints, frequencies: Ints) -> None:
        halves, frequencies = halves.astype(np.int64), frequencies.astype(np.int64)
        sizes = 2 * halves + 1
        if not len(halves) or halves.min() < 1 or sizes.sum() != len(frequencies):
            raise BadInputError("damaged weights: the sizes of the entropy tables do not add up")
        parts = np.split(frequencies, sizes.cumsum()[:-1])
        if frequencies.min() < 1 or any(part.sum() != TOTAL for part in parts):
            raise BadInputError("damaged weights: an entropy table does not sum to 65536")
        self.halves = halves
        # The second 65536 closes the slot of compressai's escape symbol: frequency 0.
        self.cdfs = [[0, *part.cumsum().tolist(), TOTAL] for part in parts]
        self.sizes = [len(cdf) for cdf in self.cdfs]
        self.offsets = (-halves).tolist()

    def halves_of(self, indexes: Ints) -> Ints:
        """K of each of these tables. Raises IndexError for a table that does not exist.

        It is called before every call of the coder, which does not check.
        """
        if len(indexes) and indexes.min() < 0:
            raise IndexError("negative number of an entropy table")
        return self.halves[indexes]

    def arguments(self) -> tuple[list[list[int]], list[int], list[int]]:
        """The tables in the form that compressai takes."""
        return self.cdfs, self.sizes, self.offsets


#: Symbol 0 of this table has probability 1 - 2^-16: it costs no bits.
_FREE = ([[0, TOTAL - 1, TOTAL, TOTAL]], [4], [0])
_HEX = ([[*range(0, TOTAL + 1, TOTAL // 16), TOTAL]], [18], [0])


def _digit_counts(excess: Ints) -> Ints:
    """How many hexadecimal digits each excess needs; 0 for 0."""
    counts = np.zeros(len(excess), np.int64)
    for digit in range(DIGITS):
        counts += excess >= 16**digit
    return counts


def _powers(counts: Ints) -> Ints:
    """Exponents of 16 of all digits, lowest digit first, of numbers that have `counts` digits.

    [2, 1] ─► [0, 1, 0]
    """
    return np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)


class Writer:
    """Collects symbols, in the order in which a `Reader` will read them."""

    def __init__(self) -> None:
        self._encoder = _extension().BufferedRansEncoder()

    def write(self, values: Ints, indexes: Ints, tables: Tables) -> None:
        """Append values (n,); `indexes` (n,) has the number of each value's table.

        |value| may exceed its table's K by at most EXCESS_MAX; the caller clamps.
        """
        halves = tables.halves_of(indexes)
        clipped = np.clip(values, -halves, halves)
        self._encoder.encode_with_indexes(clipped.tolist(), indexes.tolist(), *tables.arguments())
        outside = np.abs(values) >= halves
        if outside.any():
            excess = (np.abs(values) - halves)[outside]
            if excess.max() > EXCESS_MAX:
                raise ValueError("a value is too far outside its table")
            counts = _digit_counts(excess)
            self._hex(counts)
            self._hex(np.repeat(excess, counts) >> 4 * _powers(counts) & 15)

    def _hex(self, digits: Ints) -> None:
        if len(digits):
            self._encoder.encode_with_indexes(digits.tolist(), [0] * len(digits), *_HEX)

    def finish(self) -> bytes:
        """The stream. The writer is empty afterwards."""
        self._encoder.encode_with_indexes([0] * 4, [0] * 4, *_FREE)
        return bytes(self._encoder.flush())


class Reader:
    """Reads back what a `Writer` wrote; on foreign bytes it returns values or raises, safely.

    Args:
        data: the stream.
        count: how many values will be read in all; reading more raises.
    """

    def __init__(self, data: bytes, count: int) -> None:
        self._left = count
        self._decoder = _extension().RansDecoder()
        self._decoder.set_stream(data + bytes(4 * WORST * count + 8))

    def read(self, indexes: Ints, tables: Tables) -> Ints:
        """The next len(indexes) values; `indexes` has the number of each value's table.

        Raises BadInputError on an impossible escape, or when more than `count` values are read.
        """
        self._left -= len(indexes)
        if self._left < 0:
            raise BadInputError("damaged file: the entropy stream ends too early")
        halves = tables.halves_of(indexes)
        read = self._decoder.decode_stream(indexes.tolist(), *tables.arguments())
        values = np.array(read, np.int64)
        outside = np.flatnonzero(np.abs(values) == halves)
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
        if not count:
            return np.zeros(0, np.int64)
        return np.array(self._decoder.decode_stream([0] * count, *_HEX), np.int64)
