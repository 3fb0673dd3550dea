"""The frequency tables of the entropy coder, checked."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ticodec.errors import BadInputError

from . import native

Ints = NDArray[np.int64]

#: What the frequencies of a table sum to.
TOTAL = 1 << 16
#: A table has at most 65536 symbols, and an index of 16 bits can name as many tables.
HALF_MAX = TOTAL // 2 - 1
TABLES_MAX = 1 << 16


class Slices(NamedTuple):
    """Tables in the form that compressai takes.

    Args:
        cdfs: of each table the first slot of each symbol, then 65536, and once more 65536. The
            last two are the slot of compressai's escape symbol: of frequency 0, never decoded.
        sizes: lengths of the cdfs. offsets: the value of each table's first symbol, -K.
    """

    cdfs: list[list[int]]
    sizes: list[int]
    offsets: list[int]


class Tables:
    """Ragged integer frequency tables; table i covers the values -K_i … K_i.

    Args:
        halves: K of each table, (tables,), integers from 1 to 32767, at most 65536 of them.
        frequencies: of all tables, one after the other. Table i has 2K_i + 1 positive integers
            that sum to 65536.

    Raises BadInputError when the numbers are not such tables: coding with them would not be safe.
    """

    def __init__(self, halves: Ints, frequencies: Ints) -> None:
        halves, frequencies = halves.astype(np.int64), frequencies.astype(np.int64)
        # Ranges come first, so that no sum below can overflow.
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
        """Raises IndexError when one of these numbers is of no table.

        It is called before every call of a coder.
        """
        if len(indexes) and (indexes.min() < 0 or indexes.max() >= len(self.halves)):
            raise IndexError("no entropy table has this number")

    @cached_property
    def slices(self) -> Slices:
        """The tables for the coders that are not `native`."""
        parts = np.split(self.frequencies, (2 * self.halves + 1).cumsum()[:-1])
        cdfs = [[0, *part.cumsum().tolist(), TOTAL] for part in parts]
        return Slices(cdfs, [len(cdf) for cdf in cdfs], (-self.halves).tolist())

    @cached_property
    def native(self) -> object | None:
        """The tables of the C extension, a capsule; None where it is not used."""
        module = native.module()
        return module and module.tables(self.halves, self.frequencies)

    def __getstate__(self) -> dict[str, Ints]:
        """Capsules cannot be copied to other processes; they are made anew there."""
        return {"halves": self.halves, "frequencies": self.frequencies}
