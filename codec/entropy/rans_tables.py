"""The frequency tables of the entropy coder, and their checks."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ticodec.errors import BadInputError

from . import native

Ints = NDArray[np.int64]

#: The sum of the frequencies of a table.
TOTAL = 1 << 16
#: A table has at most 65536 symbols. There are at most 65536 tables, because indexes have 16 bits.
HALF_MAX = TOTAL // 2 - 1
TABLES_MAX = 1 << 16


class Slices(NamedTuple):
    """Tables in the form that compressai takes.

    Args:
        cdfs: for each table, the start of every symbol's slice, then 65536 twice. These two are
            the slice of compressai's escape symbol. It is empty, so the symbol is never decoded.
        sizes: the length of each cdf.
        offsets: the value of each table's first symbol, -K.
    """

    cdfs: list[list[int]]
    sizes: list[int]
    offsets: list[int]


class Tables:
    """Integer frequency tables of different lengths. Table i covers the values -K_i … K_i.

    Args:
        halves: K of each table, (tables,), integers from 1 to 32767. There are 1 to 65536 tables.
        frequencies: the frequencies of all tables, one table after the other. Table i has
            2K_i + 1 positive integers whose sum is 65536.

    Raises BadInputError if the numbers break one of these rules. Coding with them would not be
    safe.
    """

    def __init__(self, halves: Ints, frequencies: Ints) -> None:
        halves, frequencies = halves.astype(np.int64), frequencies.astype(np.int64)
        # Ranges are checked first, so that no sum below can overflow.
        in_range = 1 <= len(halves) <= TABLES_MAX and halves.min() >= 1 and halves.max() <= HALF_MAX
        if not in_range or (2 * halves + 1).sum() != len(frequencies):
            raise BadInputError("damaged weights: the sizes of the entropy tables do not add up")
        firsts = (2 * halves + 1).cumsum() - (2 * halves + 1)
        in_range = frequencies.min() >= 1 and frequencies.max() <= TOTAL
        if not in_range or (np.add.reduceat(frequencies, firsts) != TOTAL).any():
            raise BadInputError("damaged weights: an entropy table does not sum to 65536")
        self.halves = halves
        self.frequencies = frequencies

    def check(self, indexes: Ints) -> None:
        """Raises IndexError if one of these numbers is not the number of a table.

        It is called before every call of a coder.
        """
        if len(indexes) and (indexes.min() < 0 or indexes.max() >= len(self.halves)):
            raise IndexError("no entropy table has this number")

    @cached_property
    def slices(self) -> Slices:
        """The tables in the form for the coders compressai and python."""
        parts = np.split(self.frequencies, (2 * self.halves + 1).cumsum()[:-1])
        cdfs = [[0, *part.cumsum().tolist(), TOTAL] for part in parts]
        return Slices(cdfs, [len(cdf) for cdf in cdfs], (-self.halves).tolist())

    @cached_property
    def native(self) -> object | None:
        """The C extension's capsule of the tables. None if the extension is not used."""
        module = native.module()
        return module and module.tables(self.halves, self.frequencies)

    def __getstate__(self) -> dict[str, Ints]:
        """Leaves out the capsule, which cannot be pickled. Another process makes its own."""
        return {"halves": self.halves, "frequencies": self.frequencies}
