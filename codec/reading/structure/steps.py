"""Reading numbers of files that may be damaged or hostile, in a bounded number of steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

Order = Literal["big", "little"]


class TooManySteps(Exception):
    """A file has far more parts than real ones have; it is not walked to its end."""


def steps(most: int) -> Iterator[int]:
    """Counts `most` steps: 0, 1, 2 … One more raises TooManySteps."""
    yield from range(most)
    raise TooManySteps("it has far more parts than real files have")


def number(data: bytes, at: int, size: int, order: Order = "big") -> int:
    """The unsigned integer of `size` bytes at an offset, of fewer bytes where the data ends."""
    return int.from_bytes(data[at : at + size], order)
