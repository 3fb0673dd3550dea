"""Convolutions of channels-last maps, and the activations after them: GDN, LeakyReLU or none."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LinearGDN(nn.Module):
    """Linear generalised divisive normalisation: x / (β + Γ|x|). The inverse is x · (β + Γ|x|).

    This is the simplified GDN without squares that Lu et al. mention in section 3.2.
    The parameters are the square roots of β and Γ, so that β and Γ stay positive.
    """

    def __init__(self, dim: int, inverse: bool) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta_root = nn.Parameter(torch.ones(dim))
        self.gamma_root = nn.Parameter(torch.eye(dim) * 0.1**0.5 + 1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to the same shape."""
        norm = nn.functional.linear(x.abs(), self.gamma_root**2, self.beta_root**2 + 1e-6)
        return x * norm if self.inverse else x / norm


class Conv(nn.Module):
    """Convolution of a channels-last map. Stride 2 halves the map, or doubles it if `up` is set."""

    def __init__(self, cin: int, cout: int, kernel: int, stride: int, up: bool = False) -> None:
        super().__init__()
        pad = kernel // 2
        self.conv: nn.Conv2d | nn.ConvTranspose2d
        if up:
            self.conv = nn.ConvTranspose2d(cin, cout, kernel, stride, pad, stride - 1)
        else:
            self.conv = nn.Conv2d(cin, cout, kernel, stride, pad)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, cin) to (B, H', W', cout). The permutes move no data."""
        return self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def shuffled(x: Tensor) -> Tensor:
    """Channels to 2×2 positions: (H, W, 2 · 2 · C), as (row, column, C), to (2H, 2W, C)."""
    return x.unflatten(2, (2, 2, -1)).transpose(1, 2).flatten(2, 3).flatten(0, 1)


def activation(kind: str, dim: int, inverse: bool) -> list[nn.Module]:
    """The modules that follow a convolution. There are none for the kind "none"."""
    if kind == "gdn":
        return [LinearGDN(dim, inverse)]
    return [nn.LeakyReLU(0.01)] if kind == "leaky_relu" else []
