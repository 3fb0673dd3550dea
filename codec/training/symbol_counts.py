"""Counts how often each symbol was coded with each table. Export fits the tables to the counts.

A gaussian of the right width still has the wrong shape: more of the real symbols are zero, and
more are large.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

#: The largest symbol of y and value of z. Larger ones are counted as this one.
REACH_Y, REACH_Z = 255, 1020


class SymbolCounts(NamedTuple):
    """Counts, int64, on the CPU.

    Args:
        y: counts of the symbols -255 … 255 for each table, (tables, 511). A table belongs to one
            scale index.
        z: counts of rounded z from -1020 to 1020 for each channel, (N, 2041).
    """

    y: Tensor
    z: Tensor

    @classmethod
    def none(cls, tables: int, channels: int) -> SymbolCounts:
        """Counts that are all 0."""
        shape_y, shape_z = (tables, 2 * REACH_Y + 1), (channels, 2 * REACH_Z + 1)
        return cls(*(torch.zeros(shape, dtype=torch.long) for shape in (shape_y, shape_z)))

    def add(self, indexes: Tensor, symbols: Tensor, z: Tensor) -> None:
        """Count symbols and hyper-latents that were coded.

        Args:
            indexes: the number of the table of each symbol, whole numbers.
            symbols: the symbols, in the same shape.
            z: rounded hyper-latents, (..., N).
        """
        self._add(self.y, indexes.flatten(), symbols.flatten(), REACH_Y)
        channels = torch.arange(z.shape[-1], device=z.device).expand_as(z)
        self._add(self.z, channels.flatten(), z.flatten(), REACH_Z)

    @staticmethod
    def _add(counts: Tensor, rows: Tensor, values: Tensor, reach: int) -> None:
        columns = values.long().clamp(-reach, reach) + reach
        cells = rows * counts.shape[1] + columns
        counts += torch.bincount(cells.cpu(), minlength=counts.numel()).view_as(counts)

    def check(self, tables: int, channels: int) -> None:
        """Raises ValueError unless these are counts for this number of tables and channels."""
        for name, count, wanted in zip("yz", self, self.none(tables, channels), strict=True):
            if count.shape != wanted.shape or count.dtype != wanted.dtype or (count < 0).any():
                raise ValueError(f"the symbols of {name} were counted for other tables")


def counts_of(state: dict[str, Any]) -> SymbolCounts | None:
    """The counts in a checkpoint, if it has any."""
    counts = state.get("symbols")
    return None if counts is None else SymbolCounts(**counts)


def summed(several: Iterable[SymbolCounts | None]) -> SymbolCounts | None:
    """The sum of the counts of several networks. Returns None if one network has no counts."""
    counts = list(several)
    if any(one is None for one in counts):
        return None
    return SymbolCounts(*(sum(parts) for parts in zip(*counts, strict=True)))  # type: ignore[misc, arg-type]
