"""The paper's ablation, begun from weights with feature aggregation instead of from random ones.

ẑ₀ ─► blocks 1 … 3 ─► aggregation ─► g_s          as it was trained
ẑ₀ ─► matrix, by least squares ────► g_s          begun from; the matrix is in g_s's first layer
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ticodec.models.icat import Icat

from .float_latents import unquantised
from .least_squares import stitch


@torch.no_grad()
def leave_out_aggregation(whole: Icat, x: Tensor, *networks: Icat) -> float:
    """Let networks without aggregation rebuild as nearly as they can what one with it does.

    Args:
        whole: the network with aggregation whose weights the others have, not in training mode.
        x: images (B, H, W, 3) in [0, 1], H and W multiples of 32.
        networks: changed in place.

    Returns which part of the variance of what was aggregated the expanded latents give, at most 1.
    """
    y = unquantised(whole, x)
    # No constant term: a transposed convolution makes no constant of a constant.
    layer = nn.Linear(whole.config.vit.C, whole.config.vit.C, bias=False)
    part = stitch(layer, [(whole.vit.embed(y), whole.fused(y))])
    for network in networks:
        first = network.g_s[0].conv
        weight = layer.weight.to(first.weight.device)  # type: ignore[arg-type,union-attr]
        first.weight.copy_(torch.einsum("ci,cokl->iokl", weight, first.weight))  # type: ignore
    return part
