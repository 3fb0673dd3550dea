"""The interface that families implement to code the latents y, in either direction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

#: Codes the latents of P positions and returns their symbols (P, M). An encoder quantises and
#: writes them, a decoder reads them. Arguments: positions (P,), means (P, M) in latent units,
#: indexes of the scale tables (P, M).
PositionCoder = Callable[[Tensor, Tensor, Tensor], Tensor]


class NativeStream(NamedTuple):
    """What the C extension needs to code y of one image.

    Args:
        y: the latents to encode, (h·w, M), float32. None when decoding.
        rounding: how to round y, the two arrays of a `Rounding`. None means to round to the nearest
            integer.
        coder: the capsule of a rANS writer, or of a reader when decoding.
        tables: the capsule of the tables.
        symbols: the extension puts all symbols here, (h·w, M), int16.
    """

    y: NDArray[np.float32] | None
    rounding: tuple[NDArray[np.float32], NDArray[np.float32]] | None
    coder: object
    tables: object
    symbols: NDArray[np.int16]


class SymbolStream(Protocol):
    """The symbols of y of one image, on their way into a stream or out of it."""

    def code(self, positions: Tensor, means: Tensor, indexes: Tensor) -> Tensor:
        """A `PositionCoder`. The calls cover every position of y once, in the family's order."""

    def native(self) -> NativeStream | None:
        """What the C extension needs to do all the work of `code`. None if it cannot do it."""


class LatentMap(NamedTuple):
    """The latents of one image, to be coded.

    Args:
        z_hat: ẑ (h/n, w/n, N), integers. n is the stride of z divided by the stride of y.
        stream: codes the symbols of the image.
        y_hat: the coder puts ŷ here, (h·w, M), float32 on the CPU, multiples of 2^-8. None if ŷ
            is not wanted. |ŷ| is below 2^16, so float32 holds it exactly.
    """

    z_hat: Tensor
    stream: SymbolStream
    y_hat: Tensor | None


class LatentCoder(Protocol):
    """Predicts mean and scale of every latent, and hands them to the map's stream."""

    def run(self, maps: Sequence[LatentMap]) -> None:
        """Codes all maps."""
