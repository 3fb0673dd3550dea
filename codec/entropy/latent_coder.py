"""The interface that families implement to code the latents y, in either direction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

#: Codes some positions and returns their symbols (P, M). Encoding quantises and writes them,
#: decoding reads them. Arguments: positions (P,), means (P, M) in latent units, indexes of the
#: scale tables (P, M).
PositionCoder = Callable[[Tensor, Tensor, Tensor], Tensor]


class LatentMap(NamedTuple):
    """The latents of one image, to be coded.

    Args:
        z_hat: ẑ (h/n, w/n, N), integers, n = stride of z over that of y.
        code: called with all positions of y, raster numbers, in the family's order.
    """

    z_hat: Tensor
    code: PositionCoder


class LatentCoder(Protocol):
    """Predicts mean and scale of every latent, and calls the map's `code` with them."""

    def run(self, maps: Sequence[LatentMap]) -> list[Tensor]:
        """ŷ of each map, (h·w, M), float64 integers in units of 2^-8."""
