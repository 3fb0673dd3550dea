"""Reads numbers from files that may be damaged or hostile, with a limited number of steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

Order = Literal["big", "little"]


class TooManySteps(Exception):
    """A file has far more parts than real files have, so the rest of it is not inspected."""


def steps(most: int) -> Iterator[int]:
    """Count up to `most` steps: 0, 1, 2 … One more step raises TooManySteps."""
    yield from range(most)
    raise TooManySteps("it has far more parts than real files have")


def number(data: bytes, at: int, size: int, order: Order = "big") -> int:
    """The unsigned integer of `size` bytes at an offset. It has fewer bytes if the data ends."""
    return int.from_bytes(data[at : at + size], order)
