"""The training loss: Lu et al., equation 1, balanced over the quality levels."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ticodec.models.network import Output


class Loss(NamedTuple):
    """Scalars of one batch: the loss to minimise, its bpp and its mean squared error."""

    loss: Tensor
    bpp: Tensor
    mse: Tensor


def lambda_at(level: Tensor, lambdas: tuple[float, ...]) -> Tensor:
    """λ at continuous quality levels (B,), interpolated in the logarithm."""
    table = torch.tensor([math.log(value) for value in lambdas], device=level.device)
    low = level.floor().clamp(0, max(len(lambdas) - 2, 0)).long()
    high = (low + 1).clamp(max=len(lambdas) - 1)
    part = level - low
    return (table[low] * (1 - part) + table[high] * part).exp()


def rate_distortion(output: Output, x: Tensor, level: Tensor, lambdas: tuple[float, ...]) -> Loss:
    """R + λ·255²·MSE of each image, weighted so that no level dominates.

    The weight, 1 / (λ·255²·0.002 + 0.3), is about one over the loss a trained
    network reaches at that λ. For one fixed λ it is a constant.

    Args:
        output: of the network; x: images (B, H, W, 3) in [0, 1]; level: (B,).
    """
    distortion = (output.x_hat - x).pow(2).flatten(1).mean(1)  # (B,)
    bpp = (output.bits_y + output.bits_z) / (x.shape[1] * x.shape[2])
    weight = lambda_at(level, lambdas) * 255**2
    loss = (bpp + weight * distortion) / (weight * 0.002 + 0.3)
    return Loss(loss.mean(), bpp.mean().detach(), distortion.mean().detach())
