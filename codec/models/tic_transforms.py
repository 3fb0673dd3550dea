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

from torch import nn

from .config import ModelConfig
from .conv import Conv, activation
from .swin import STB


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
