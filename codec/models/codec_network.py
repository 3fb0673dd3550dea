"""The parts that all coding networks have: transforms, a prior, gains of the quality levels.

x ─► g_a ─► ·up(q) ─► y ─► h_a ─► z ─► round ─► ẑ ─► prior
                      └─► [family]: ẑ and ŷ so far ─► scales, means ─► ŷ
ŷ ─► ·down(q) ─┬─► [family] ─► g_s ─► x̂
               └─► its classifier, if it has one ─► labels

Each family of models has its own layers in the places marked [family].
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

    The encoder multiplies y by `up`. The decoder multiplies ŷ by `down`. Both are learned.
    Between two levels they are log-linear, so that quality is continuous.
    """

    def __init__(self, lambdas: tuple[float, ...], M: int) -> None:
        super().__init__()
        # At high rates the best step size is proportional to λ^-½. At low rates it changes a bit
        # less with λ.
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
    """λ at continuous quality levels (B,). The logarithms of lambdas (levels,) are interpolated."""
    table = lambdas.log()
    low = level.floor().clamp(0, max(len(lambdas) - 2, 0)).long()
    high = (low + 1).clamp(max=len(lambdas) - 1)
    part = level - low
    return (table[low] * (1 - part) + table[high] * part).exp()


def straight_through_round(x: Tensor) -> Tensor:
    """round(x) with the gradient of x."""
    return x + (x.round() - x).detach()


class CodecNetwork(nn.Module):
    """The base class of all coding networks. A subclass sets the attributes in its constructor.

    Attributes:
        config: the network's dimensions.
        g_a: image (B, H, W, 3) in [0, 1] minus ½ to y (B, H/16, W/16, M).
        h_a: y, after the gain, to z (B, H/n, W/n, N), n = `config.stride_z`.
        h_s: ẑ to the features from which the family predicts y.
        g_s: `synthesis_input` to the image minus ½, not clamped.
        prior: the density of z.
        gains: the gains, or None for a network of one fixed trade-off.
        vit: the classifier that is part of the network, or None.
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
        """Gains (up, down) at a level (B,), each (B, 1, 1, M). Without gains they are ones."""
        if self.gains is None:
            one = torch.ones(len(level), 1, 1, 1, device=level.device)
            return one, one
        return self.gains(level)  # type: ignore[no-any-return]

    def prediction(self, z_hat: Tensor, y_hat: Tensor) -> tuple[Tensor, Tensor]:
        """Scales and means (B, h, w, M), float32, of all latents at once.

        Args:
            z_hat: rounded z.
            y_hat: the latents that a context model sees, (B, h, w, M), after the gain.
        """
        return self.predicted(self.h_s(z_hat), y_hat)

    @abstractmethod
    def predicted(self, hyper: Tensor, y_hat: Tensor) -> tuple[Tensor, Tensor]:
        """`prediction` from `hyper`, the output of h_s, (B, h, w, 2M)."""

    def bits(self, y: Tensor, z: Tensor, scales: Tensor, means: Tensor) -> tuple[Tensor, Tensor]:
        """The bits of latents y (B, h, w, M) and z (B, h', w', N) by their likelihoods, (B,) each.

        In training, noise replaces rounding, because rounding has no gradient. Latents with noise
        cost more bits than rounded ones. For example, a latent that is always zero costs 0 bits if
        it is rounded, but 0.15 bits with noise, because at the edge of its bin half of its density
        lies outside. A network with a large M has many such channels.
        """
        with torch.autocast(y.device.type, enabled=False):  # likelihoods need float32
            p_y = gaussian_likelihood(y, means, scales)
            p_z = self.prior.likelihood(z)
        bits_y, bits_z = (-p.log2().flatten(1).sum(1) for p in (p_y, p_z))
        return bits_y, bits_z

    @torch.no_grad()
    def rounded_bits(self, y: Tensor, z: Tensor, scales: Tensor, means: Tensor) -> Tensor:
        """The bits (B,) of y and z together, if both are rounded as in files, without gradient."""
        return sum(self.bits((y - means).round() + means, z.round(), scales, means))  # type: ignore[return-value]

    def synthesis_input(self, y_hat: Tensor, dtype: torch.dtype) -> Tensor:
        """The input of g_s, float32, from latents (B, h, w, M), float32, after the gain `down`.

        `dtype` is the type to which `move_rest` has converted modules.
        """
        return y_hat

    def move_prediction(self, device: torch.device) -> None:
        """Moves the modules of `prediction` to a device, in float32.

        Only training and the search for better latents use them. Coding uses integer versions.
        """
        for name in ("h_s", "cam", "head"):
            if (child := getattr(self, name, None)) is not None:
                child.to(device)

    def move_rest(self, device: torch.device, dtype: torch.dtype) -> None:
        """Moves the modules that decoding needs besides the transforms to a device and a type."""
