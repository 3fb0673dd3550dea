"""Fits a new first layer for a classifier whose Transformer comes from another classifier.

            ┌► input of the old classifier ─► its first layer ──┐
    images ─┤                                                   ├─► least squares
            └► input of the new classifier ─► new first layer ──┘

The two classifiers read different inputs, for example latents of different codecs. The new layer is
fitted so that the Transformer gets tokens like those it was trained on, as nearly as a linear layer
can compute them. So most of what the Transformer has learned is kept. With a random first layer it
would be lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ticodec.models.codec_network import CodecNetwork

from .float_latents import latents, of_pixels, unquantised

#: Added to the variance of every input, so that inputs that hardly vary get no large weights.
#: Standardised inputs have a variance of 1.
RIDGE = 1e-3


class Source(NamedTuple):
    """An existing classifier, up to its first layer.

    Args:
        network: the frozen codec whose latents it reads. None if it reads pixels.
        level: the quality level of the latents. None if they are not quantised.
        embed: its first layer.
    """

    network: CodecNetwork | None
    level: float | None
    embed: nn.Linear

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Tokens (B, H/16, W/16, C) of images (B, H, W, 3) in [0, 1].

        H and W must be multiples of 16.
        """
        return self.embed(self.read(x))

    @torch.no_grad()
    def read(self, x: Tensor) -> Tensor:
        """The input (B, H/16, W/16, channels) of the first layer, from images as above."""
        if self.network is None:
            return of_pixels(x)
        if self.level is None:
            return unquantised(self.network, x)
        return latents(self.network, x, torch.full((len(x),), self.level).to(x.device))


@torch.no_grad()
def stitch(layer: nn.Linear, pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Fit a layer by least squares, so that it computes the second of each pair from the first.

    Args:
        layer: with a bias or without one. It is changed in place.
        pairs: inputs (…, inputs) and wanted outputs (…, outputs).

    Returns:
        The part of the variance of the outputs that the layer explains, at most 1.
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
