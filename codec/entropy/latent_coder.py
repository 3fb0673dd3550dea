"""The interface that families implement to code the latents y, in either direction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

#: Codes some positions and returns their symbols (P, M). Encoding quantises and writes them,
#: decoding reads them. Arguments: positions (P,), means (P, M) in latent units, indexes of the
#: scale tables (P, M).
PositionCoder = Callable[[Tensor, Tensor, Tensor], Tensor]


class NativeStream(NamedTuple):
    """Where the C extension takes symbols from, or puts them.

    Args:
        y: latents to encode, (h·w, M), float32; None when decoding.
        rounding: of y, the two arrays of a `Rounding`; None: to the nearest.
        coder: the capsule of a rANS writer, or of a reader; tables: that of its tables.
        symbols: filled with all symbols, (h·w, M), int16.
    """

    y: NDArray[np.float32] | None
    rounding: tuple[NDArray[np.float32], NDArray[np.float32]] | None
    coder: object
    tables: object
    symbols: NDArray[np.int16]


class SymbolStream(Protocol):
    """The symbols of y of one image, on their way into a stream or out of it."""

    def code(self, positions: Tensor, means: Tensor, indexes: Tensor) -> Tensor:
        """A `PositionCoder`; it is called with all positions of y, in the family's order."""

    def native(self) -> NativeStream | None:
        """The same for the C extension, which is used instead of `code`. None where it is not."""


class LatentMap(NamedTuple):
    """The latents of one image, to be coded.

    Args:
        z_hat: ẑ (h/n, w/n, N), integers, n = stride of z over that of y.
        stream: of its symbols.
        y_hat: filled with ŷ, (h·w, M), float32 on the CPU, multiples of 2^-8; None if nobody
            wants it. |ŷ| is below 2^16, so float32 holds it exactly.
    """

    z_hat: Tensor
    stream: SymbolStream
    y_hat: Tensor | None


class LatentCoder(Protocol):
    """Predicts mean and scale of every latent, and hands them to the map's stream."""

    def run(self, maps: Sequence[LatentMap]) -> None:
        """Code all maps."""
