"""A whole TIC network, as it is trained.

    x ─► g_a ─► ·gain(q) ─► y ─► h_a ─► z ─► noise ─► prior ─► bits of z
                            │           └─► round ─► h_s ─┐
                            ├─► noise ─► CAM ─────────────┴─► head ─► scales, means ─► bits of y
                            └─► round(y - means) + means ─► ÷gain(q) ─► g_s ─► x̂

Noise stands for rounding where the rate is counted; the distortion sees the real
rounding, with the gradient passed straight through. Coding uses g_a, h_a and g_s
from here and the integer twins of h_s, CAM and head from `ticodec.entropy`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .cam import context_modules
from .config import ModelConfig
from .prior import FactorizedPrior, gaussian_likelihood
from .tic_transforms import Analysis, HyperAnalysis, HyperSynthesis, Synthesis


class Gains(nn.Module):
    """Learned scaling of the latent for each quality level (Cui et al., 2021).

    Log-linear between levels, so that quality is continuous. The encoder multiplies
    y by `up`, the decoder multiplies ŷ by `down`; both are learned.
    """

    def __init__(self, lambdas: tuple[float, ...], M: int) -> None:
        super().__init__()
        # At high rate the best step size goes with λ^-½; low rates want a bit less.
        middle = math.exp(sum(math.log(value) for value in lambdas) / len(lambdas))
        start = torch.tensor([0.4 * math.log(value / middle) for value in lambdas])
        self.log_up = nn.Parameter(start[:, None].repeat(1, M) + math.log(8.0))
        self.log_down = nn.Parameter(-start[:, None].repeat(1, M) - math.log(8.0))

    def forward(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """level (B,) in [0, levels - 1] to (up, down), each (B, 1, 1, M)."""
        low = level.floor().clamp(0, max(self.log_up.shape[0] - 2, 0)).long()
        high = (low + 1).clamp(max=self.log_up.shape[0] - 1)
        part = (level - low)[:, None]
        up, down = (
            (table[low] * (1 - part) + table[high] * part).exp()[:, None, None]
            for table in (self.log_up, self.log_down)
        )
        return up, down


def straight_through_round(x: Tensor) -> Tensor:
    """round(x) with the gradient of x."""
    return x + (x.round() - x).detach()


class Output(NamedTuple):
    """What a training pass gives: x_hat (B, H, W, 3) in about [0, 1], bits (B,) of y and z."""

    x_hat: Tensor
    bits_y: Tensor
    bits_z: Tensor


class Network(nn.Module):
    """TIC, TIC+ and tic-lite: one implementation, the config decides."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.g_a, self.g_s = Analysis(config), Synthesis(config)
        self.h_a, self.h_s = HyperAnalysis(config), HyperSynthesis(config)
        self.cam, self.head = context_modules(config)
        self.prior = FactorizedPrior(config.N)
        self.gains = Gains(config.lambdas, config.M) if config.levels > 1 else None

    def scaling(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """Gains (up, down) at a level (B,); ones for a network of one λ."""
        if self.gains is None:
            one = torch.ones(len(level), 1, 1, 1, device=level.device)
            return one, one
        return self.gains(level)  # type: ignore[no-any-return]

    def forward(self, x: Tensor, level: Tensor) -> Output:
        """Training pass.

        Args:
            x: images (B, H, W, 3), float32 in [0, 1], H and W multiples of 64.
            level: quality level of each, (B,), float in [0, levels - 1].
        """
        up, down = self.scaling(level)
        y = self.g_a(x - 0.5).float() * up  # (B, H/16, W/16, M)
        z = self.h_a(y).float()  # (B, H/64, W/64, N)
        hyper = self.h_s(straight_through_round(z))
        noisy = y + torch.rand_like(y) - 0.5
        scales, means = (part.float() for part in self.head(hyper, self.cam(noisy)))
        y_hat = straight_through_round(y - means) + means
        x_hat = self.g_s(y_hat * down).float() + 0.5
        with torch.autocast(x.device.type, enabled=False):  # likelihoods need float32
            p_y = gaussian_likelihood(noisy, means, scales)
            p_z = self.prior.likelihood(z + torch.rand_like(z) - 0.5)
        bits = [-p.log2().flatten(1).sum(1) for p in (p_y, p_z)]
        return Output(x_hat, *bits)
