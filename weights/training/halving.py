"""Fitting the layer that makes latents of a large image those of the same image at half its size.

            ┌► codec ─► ŷ (2h, 2w) ─► 2×2 side by side ─┐
    images ─┤                                           ├─► least squares
            └► half the size ─► codec ─► ŷ (h, w) ──────┘

A classifier reads a large image as a small one then, and no pixel has to be made for that. Codecs
are so nearly linear that this one layer is enough, also several times in a row.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, linear

from ticodec.models.vit import Halving

from .standard import LEAST
from .stitch import stitch


def half_size(x: Tensor) -> Tensor:
    """Images (B, H, W, 3) in [0, 1] at half their size; H and W are even."""
    size = (x.shape[1] // 2, x.shape[2] // 2)
    small = interpolate(x.permute(0, 3, 1, 2), size, mode="bicubic", antialias=True)
    return small.clamp(0, 1).permute(0, 2, 3, 1).contiguous()


@torch.no_grad()
def fit_halving(halve: Halving, pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Set the layer so that it gives the second of each pair from the first.

    Args:
        pairs: ŷ of images (B, 2h, 2w, M), and of the same at half the size (B, h, w, M).

    Returns which part of the variance it explains, the mean over the channels, at most 1.
    """
    found = [(halve.blocks(large).flatten(0, 2), small.flatten(0, 2)) for large, small in pairs]
    given, wanted = (torch.cat(each) for each in zip(*found, strict=True))
    (std, mean), (out, middle) = torch.std_mean(given, 0), torch.std_mean(wanted, 0)
    std, out = std.clamp(min=LEAST), out.clamp(min=LEAST)
    layer = nn.Linear(len(mean), len(middle))
    part = stitch(layer, [((given - mean) / std, (wanted - middle) / out)])
    weight = (layer.weight * out[:, None].cpu()).to(std.device) / std
    halve.weight.copy_(weight)
    halve.bias.copy_(layer.bias.to(std.device) * out + middle - linear(mean, weight))
    return part
