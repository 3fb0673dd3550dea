"""Beginning a classifier from one that reads something else: its Transformer, a new first layer.

            ┌► what that one reads ─► its first layer ──┐
    images ─┤                                           ├─► least squares
            └► what this one reads ─► new first layer ──┘

The new layer is fitted so that the Transformer gets what it knows, as nearly as a linear layer can
give it. Most of what the other learned lives on; from a random first layer it would be lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ticodec.models.codec_network import CodecNetwork

from .float_latents import latents, of_pixels, unquantised

#: Added to the variance of every input, of 1 where they are standardised: what hardly varies
#: must not get large weights.
RIDGE = 1e-3


class Source(NamedTuple):
    """A classifier that is there, as far as its first layer.

    Args:
        network: the frozen codec whose latents it reads; None: pixels.
        level: the quality level to read them at; None: unquantised.
        embed: its first layer.
    """

    network: CodecNetwork | None
    level: float | None
    embed: nn.Linear

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Images (B, H, W, 3) in [0, 1], H and W multiples of 16, to (B, H/16, W/16, C)."""
        return self.embed(self.read(x))

    @torch.no_grad()
    def read(self, x: Tensor) -> Tensor:
        """What its first layer reads of such images: (B, H/16, W/16, channels)."""
        if self.network is None:
            return of_pixels(x)
        if self.level is None:
            return unquantised(self.network, x)
        return latents(self.network, x, torch.full((len(x),), self.level).to(x.device))


@torch.no_grad()
def stitch(layer: nn.Linear, pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Set a layer so that it gives the second of each pair from the first, by least squares.

    Args:
        layer: with a bias or without.
        pairs: (…, inputs) and (…, outputs).

    Returns which part of the variance it explains, at most 1.
    """
    n = layer.in_features + 1
    gram = torch.zeros(n, n, dtype=torch.float64)
    cross = torch.zeros(n, layer.out_features, dtype=torch.float64)
    squares, total, count = torch.zeros(()), torch.zeros(layer.out_features), 0
    for given, wanted in pairs:
        x = given.flatten(0, -2).double().cpu()
        z = wanted.flatten(0, -2).double().cpu()
        x = torch.cat([x, x.new_full((len(x), 1), layer.bias is not None)], 1)
        gram += x.T @ x
        cross += x.T @ z
        squares, total, count = squares + z.square().sum(), total + z.sum(0), count + len(z)
    ridge = torch.full((n,), RIDGE * count, dtype=torch.float64)
    ridge[-1] = 0 if layer.bias is not None else 1
    found = torch.linalg.solve(gram + ridge.diag(), cross)
    layer.weight.copy_(found[:-1].T)
    if layer.bias is not None:
        layer.bias.copy_(found[-1])
    left = squares - 2 * (found * cross).sum() + (found * (gram @ found)).sum()
    return float(1 - left / (squares - total.square().sum() / count))
