"""The ablation of Bai et al. without feature aggregation, started from weights that have it.

ẑ₀ ─► blocks 1 … 3 ─► aggregation ─► g_s          the weights with aggregation
ẑ₀ ─► matrix, by least squares ────► g_s          the start of the ablation

The matrix is multiplied into the first layer of g_s, so that the network needs no other layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ticodec.models.icat import Icat

from .float_latents import unquantised
from .least_squares import stitch


@torch.no_grad()
def leave_out_aggregation(whole: Icat, x: Tensor, *networks: Icat) -> float:
    """Fit networks without aggregation, so that they reconstruct almost like one with aggregation.

    Args:
        whole: the network with aggregation, not in training mode. The other networks have its
            weights.
        x: images (B, H, W, 3) in [0, 1]. H and W must be multiples of 32.
        networks: networks without aggregation, which are changed in place.

    Returns:
        The part of the variance of the aggregated features that the embedded latents explain, at
        most 1.
    """
    y = unquantised(whole, x)
    # No constant term: a transposed convolution does not turn a constant into a constant.
    layer = nn.Linear(whole.config.vit.C, whole.config.vit.C, bias=False)
    part = stitch(layer, [(whole.vit.embed(y), whole.fused(y))])
    for network in networks:
        first = network.g_s[0].conv
        weight = layer.weight.to(first.weight.device)  # type: ignore[arg-type,union-attr]
        first.weight.copy_(torch.einsum("ci,cokl->iokl", weight, first.weight))  # type: ignore
    return part
