"""Main and hyper transforms of Lu et al., figure 2: NTUs of one STB and one convolution.

    g_a:  x ─► conv5 s2 ─► STB ─► conv3 s2 ─► STB ─► conv3 s2 ─► STB ─► conv3 s2 ─► y
              3→N    1/2         N→N     1/4         N→N     1/8         N→M     1/16
    h_a:  y ─► conv3 s1 ─► STB ─► conv3 s2 ─► STB ─► conv3 s2 ─► z
              M→N    1/16        N→N     1/32        N→N     1/64
    g_s, h_s: the mirror, with transposed convolutions.

Each convolution but the last of a transform is followed by the activation of the
config. All maps are channels-last, (B, H, W, C).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import ModelConfig
from .swin import STB


class LinearGDN(nn.Module):
    """Linear generalised divisive normalisation: x / (β + Γ|x|), or times, when inverse.

    The simplified GDN without squares that Lu et al. name in section 3.2.
    β and Γ stay positive by being stored as roots.
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
    """Convolution on a channels-last map, halving (or doubling, `up`) it when stride is 2."""

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


def activation(kind: str, dim: int, inverse: bool) -> list[nn.Module]:
    """The modules that follow a convolution; none for kind "none"."""
    if kind == "gdn":
        return [LinearGDN(dim, inverse)]
    return [nn.LeakyReLU(0.01)] if kind == "leaky_relu" else []


def attention(c: ModelConfig, stage: int) -> nn.Module:
    """STB of a stage of the main coder (0, 1, 2: 1/2, 1/4, 1/8), LeakyReLU where it has none."""
    if c.depths[stage] == 0:
        return nn.LeakyReLU(0.01)
    return STB(c.N, c.depths[stage], c.heads[stage], c.window, c.mlp_ratio)


def hyper_attention(c: ModelConfig, stage: int) -> STB:
    """STB of a stage of the hyper coder (0, 1: 1/16, 1/32)."""
    return STB(c.N, c.hyper_depths[stage], c.hyper_heads[stage], c.hyper_window, c.mlp_ratio)


class Analysis(nn.Sequential):
    """g_a: image (B, H, W, 3) in [0, 1] minus ½ to y (B, H/16, W/16, M)."""

    def __init__(self, c: ModelConfig) -> None:
        act = lambda: activation(c.activation, c.N, inverse=False)  # noqa: E731
        modules = [Conv(3, c.N, 5, 2), *act(), attention(c, 0)]
        modules += [Conv(c.N, c.N, 3, 2), *act(), attention(c, 1)]
        modules += [Conv(c.N, c.N, 3, 2), *act(), attention(c, 2)]
        super().__init__(*modules, Conv(c.N, c.M, 3, 2))


class Synthesis(nn.Sequential):
    """g_s: ŷ (B, H/16, W/16, M) to image (B, H, W, 3) minus ½, not clamped."""

    def __init__(self, c: ModelConfig) -> None:
        act = lambda: activation(c.activation, c.N, inverse=True)  # noqa: E731
        modules = [Conv(c.M, c.N, 3, 2, up=True), *act(), attention(c, 2)]
        modules += [Conv(c.N, c.N, 3, 2, up=True), *act(), attention(c, 1)]
        modules += [Conv(c.N, c.N, 3, 2, up=True), *act(), attention(c, 0)]
        super().__init__(*modules, Conv(c.N, 3, 5, 2, up=True))


class HyperAnalysis(nn.Sequential):
    """h_a: y (B, h, w, M) to z (B, h/4, w/4, N)."""

    def __init__(self, c: ModelConfig) -> None:
        act = lambda: activation(c.hyper_activation, c.N, inverse=False)  # noqa: E731
        modules = [Conv(c.M, c.N, 3, 1), *act(), hyper_attention(c, 0)]
        modules += [Conv(c.N, c.N, 3, 2), *act(), hyper_attention(c, 1)]
        super().__init__(*modules, Conv(c.N, c.N, 3, 2))


class HyperSynthesis(nn.Sequential):
    """h_s: ẑ (B, h/4, w/4, N) to hyper features (B, h, w, 2M)."""

    def __init__(self, c: ModelConfig) -> None:
        act = lambda: activation(c.hyper_activation, c.N, inverse=True)  # noqa: E731
        modules = [Conv(c.N, c.N, 3, 2, up=True), *act(), hyper_attention(c, 1)]
        modules += [Conv(c.N, c.N, 3, 2, up=True), *act(), hyper_attention(c, 0)]
        super().__init__(*modules, Conv(c.N, 2 * c.M, 3, 1))
