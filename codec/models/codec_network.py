"""What every network that codes has: transforms, a prior, gains of the quality levels.

x ─► g_a ─► ·up(q) ─► y ─► h_a ─► z ─► round ─► ẑ ─► prior
                      └─► the family's own: ẑ and ŷ so far ─► scales, means ─► ŷ
ŷ ─► ·down(q) ─┬─► the family's own ─► g_s ─► x̂
               └─► its classifier, if it has one ─► labels
"""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor, nn

from .config import CodecConfig
from .prior import FactorizedPrior, gaussian_likelihood
from .vit import ViT


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


def lambda_at(level: Tensor, lambdas: Tensor) -> Tensor:
    """λ at continuous quality levels (B,), interpolated in the logarithm of lambdas (levels,)."""
    table = lambdas.log()
    low = level.floor().clamp(0, max(len(lambdas) - 2, 0)).long()
    high = (low + 1).clamp(max=len(lambdas) - 1)
    part = level - low
    return (table[low] * (1 - part) + table[high] * part).exp()


def straight_through_round(x: Tensor) -> Tensor:
    """round(x) with the gradient of x."""
    return x + (x.round() - x).detach()


class CodecNetwork(nn.Module):
    """Base of the networks that code. A subclass makes these in its constructor.

    Attributes:
        config: its dimensions.
        g_a: image (B, H, W, 3) in [0, 1] minus ½ to y (B, H/16, W/16, M).
        h_a: y, gain applied, to z (B, H/n, W/n, N), n = `config.stride_z`.
        h_s: ẑ to what the family predicts y from; g_s: to the image minus ½, not clamped.
        prior: of z. gains: None for a network of one fixed trade-off.
        vit: the classifier that is part of it, or None.
    """

    config: CodecConfig
    g_a: nn.Sequential
    g_s: nn.Sequential
    h_a: nn.Sequential
    h_s: nn.Sequential
    prior: FactorizedPrior
    gains: Gains | None
    vit: ViT | None

    def scaling(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """Gains (up, down) at a level (B,), each (B, 1, 1, M); ones for one fixed trade-off."""
        if self.gains is None:
            one = torch.ones(len(level), 1, 1, 1, device=level.device)
            return one, one
        return self.gains(level)  # type: ignore[no-any-return]

    def prediction(self, z_hat: Tensor, y_hat: Tensor) -> tuple[Tensor, Tensor]:
        """Scales and means (B, h, w, M), float32, of every latent at once.

        Args:
            z_hat: rounded z; y_hat: what a context model sees, (B, h, w, M), gain applied.
        """
        return self.predicted(self.h_s(z_hat), y_hat)

    @abstractmethod
    def predicted(self, hyper: Tensor, y_hat: Tensor) -> tuple[Tensor, Tensor]:
        """`prediction` by `hyper`, what h_s gives of ẑ: (B, h, w, 2M)."""

    def bits(self, y: Tensor, z: Tensor, scales: Tensor, means: Tensor) -> tuple[Tensor, Tensor]:
        """What latents y (B, h, w, M) and z (B, h', w', N) cost by their likelihoods, (B,) each.

        Noise added to them stands for rounding, which has no gradient, and costs more: a latent
        that is always zero costs nothing rounded, and 0.15 bits with noise, since at the edge of
        its bin half of its density lies outside. A wide latent has many such channels.
        """
        with torch.autocast(y.device.type, enabled=False):  # likelihoods need float32
            p_y = gaussian_likelihood(y, means, scales)
            p_z = self.prior.likelihood(z)
        bits_y, bits_z = (-p.log2().flatten(1).sum(1) for p in (p_y, p_z))
        return bits_y, bits_z

    @torch.no_grad()
    def rounded_bits(self, y: Tensor, z: Tensor, scales: Tensor, means: Tensor) -> Tensor:
        """Bits (B,) of y and z rounded as in files, see `bits`; without a gradient."""
        return sum(self.bits((y - means).round() + means, z.round(), scales, means))  # type: ignore[return-value]

    def synthesis_input(self, y_hat: Tensor, dtype: torch.dtype) -> Tensor:
        """What g_s takes, float32, of latents (B, h, w, M), float32, divided by the gain.

        `dtype` is that of the modules which `move_rest` has moved.
        """
        return y_hat

    def move_prediction(self, device: torch.device) -> None:
        """Move what `prediction` runs to a device, in float32. Coding has integer twins of it."""
        for name in ("h_s", "cam", "head"):
            if (child := getattr(self, name, None)) is not None:
                child.to(device)

    def move_rest(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move what decoding runs beside the transforms to a device and a float type."""
