"""Likelihoods for training: a factorized prior of z, and gaussians for y.

Coding does not use them. It uses integer tables, which are made from them. The prior follows
Ballé et al. 2018, appendix 6.1. It is not taken from compressai, because export must read the
cumulative distribution directly, and because importing compressai's module takes seconds and
needs a dozen packages wherever a network is built.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SCALE_MIN = 0.11
LIKELIHOOD_MIN = 1e-9


class _LowerBound(torch.autograd.Function):
    """max(x, bound). Below the bound, a gradient still passes if it makes x larger."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x >= bound)
        return x.clamp(min=bound)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (inside,) = ctx.saved_tensors
        return torch.where(inside | (grad < 0), grad, torch.zeros_like(grad)), None


def lower_bound(x: Tensor, bound: float) -> Tensor:
    """max(x, bound). Below the bound, only gradients that make x larger pass."""
    return _LowerBound.apply(x, bound)  # type: ignore[no-any-return]


def gaussian_likelihood(y: Tensor, means: Tensor, scales: Tensor) -> Tensor:
    """The probability of [y - ½, y + ½] under N(means, scales²), of any shape, float32.

    scales are the raw outputs of the head. Here they are bounded below by 0.11.
    """
    distance = (y - means).abs()
    scales = lower_bound(scales, SCALE_MIN) * math.sqrt(2)
    upper = torch.erfc((distance - 0.5) / scales)
    lower = torch.erfc((distance + 0.5) / scales)
    return lower_bound((upper - lower) * 0.5, LIKELIHOOD_MIN)


class FactorizedPrior(nn.Module):
    """A learned density for each channel of z.

    Its cumulative distribution is the sigmoid of a small monotone network with the widths
    1-3-3-3-1.
    """

    WIDTHS = (1, 3, 3, 3, 1)

    def __init__(self, channels: int, init_scale: float = 10.0) -> None:
        super().__init__()
        self.matrices = nn.ParameterList()
        self.biases = nn.ParameterList()
        self.factors = nn.ParameterList()
        scale = init_scale ** (1 / (len(self.WIDTHS) - 1))
        for n_in, n_out in zip(self.WIDTHS[:-1], self.WIDTHS[1:], strict=True):
            start = math.log(math.expm1(1 / scale / n_out))
            self.matrices.append(nn.Parameter(torch.full((channels, n_out, n_in), start)))
            self.biases.append(nn.Parameter(torch.empty(channels, n_out, 1).uniform_(-0.5, 0.5)))
        for width in self.WIDTHS[1:-1]:
            self.factors.append(nn.Parameter(torch.zeros(channels, width, 1)))

    def logits(self, z: Tensor, frozen: bool = False) -> Tensor:
        """The logit of the cumulative distribution at z: (channels, 1, n) to the same shape.

        If `frozen`, the gradient goes only to z, not to the prior.
        """
        matrices, biases, factors = (
            [part.detach() if frozen else part for part in parts]
            for parts in (self.matrices, self.biases, self.factors)
        )
        for i, (matrix, bias) in enumerate(zip(matrices, biases, strict=True)):
            z = F.softplus(matrix) @ z + bias
            if i < len(factors):
                z = z + factors[i].tanh() * z.tanh()
        return z

    def likelihood(self, z: Tensor, frozen: bool = False) -> Tensor:
        """The probability of [z - ½, z + ½]: (..., channels), float32, to the same shape.

        See `logits` for `frozen`.
        """
        flat = z.reshape(-1, z.shape[-1]).t()[:, None]  # (channels, 1, n)
        lower, upper = self.logits(flat - 0.5, frozen), self.logits(flat + 0.5, frozen)
        # On the side where sigmoid is small, the difference is precise.
        sign = -(lower + upper).sign().detach()
        p = ((sign * upper).sigmoid() - (sign * lower).sigmoid()).abs()
        return lower_bound(p[:, 0].t().reshape(z.shape), LIKELIHOOD_MIN)
