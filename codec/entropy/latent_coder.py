"""What codes the latents y of a family, in either direction: the part that families differ in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from torch import Tensor

#: Codes some positions: (positions (P,), means (P, M) in latent units, indexes of the scale
#: tables (P, M)) to their symbols (P, M). Encoding quantises and writes them, decoding reads them.
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
    """Predicts mean and scale of every latent, and has it coded."""

    def run(self, maps: Sequence[LatentMap]) -> list[Tensor]:
        """ŷ of each map, (h·w, M), float64 integers in units of 2^-8."""
