"""Main and hyper transforms of Lu et al., figure 2.

A neural transformation unit (NTU) is one STB and one convolution.

    g_a:  x ─► conv5 s2 ─► STB ─► conv3 s2 ─► STB ─► conv3 s2 ─► STB ─► conv3 s2 ─► y
              3→N    1/2         N→N     1/4         N→N     1/8         N→M     1/16
    h_a:  y ─► conv3 s1 ─► STB ─► conv3 s2 ─► STB ─► conv3 s2 ─► z
              M→N    1/16        N→N     1/32        N→N     1/64
    g_s, h_s: the same layers in reverse order, with transposed convolutions.

The activation of the config follows each convolution except the last one of a transform. All
maps are channels-last, (B, H, W, C).
"""

from __future__ import annotations

from torch import nn

from .config import ModelConfig
from .conv import Conv, activation
from .swin import STB


def attention(c: ModelConfig, number: int) -> nn.Module:
    """The STB of stage 0, 1 or 2 of the main coder (at 1/2, 1/4, 1/8), or a LeakyReLU."""
    if c.depths[number] == 0:
        return nn.LeakyReLU(0.01)
    return STB(c.N, c.depths[number], c.heads[number], c.window, c.mlp_ratio)


def hyper_attention(c: ModelConfig, number: int) -> STB:
    """The STB of stage 0 or 1 of the hyper coder (at 1/16, 1/32)."""
    return STB(c.N, c.hyper_depths[number], c.hyper_heads[number], c.hyper_window, c.mlp_ratio)


def stage(c: ModelConfig, number: int, inverse: bool) -> list[nn.Module]:
    """The modules after a convolution of the main coder: activation, then the stage's STB."""
    return [*activation(c.activation, c.N, inverse), attention(c, number)]


def hyper_stage(c: ModelConfig, number: int, inverse: bool) -> list[nn.Module]:
    """The modules after a convolution of the hyper coder: activation, then the stage's STB."""
    return [*activation(c.hyper_activation, c.N, inverse), hyper_attention(c, number)]


class Analysis(nn.Sequential):
    """g_a: image (B, H, W, 3) in [0, 1] minus ½ to y (B, H/16, W/16, M)."""

    def __init__(self, c: ModelConfig) -> None:
        super().__init__(
            *(Conv(3, c.N, 5, 2), *stage(c, 0, inverse=False)),
            *(Conv(c.N, c.N, 3, 2), *stage(c, 1, inverse=False)),
            *(Conv(c.N, c.N, 3, 2), *stage(c, 2, inverse=False)),
            Conv(c.N, c.M, 3, 2),
        )


class Synthesis(nn.Sequential):
    """g_s: ŷ (B, H/16, W/16, M) to image (B, H, W, 3) minus ½, not clamped."""

    def __init__(self, c: ModelConfig) -> None:
        super().__init__(
            *(Conv(c.M, c.N, 3, 2, up=True), *stage(c, 2, inverse=True)),
            *(Conv(c.N, c.N, 3, 2, up=True), *stage(c, 1, inverse=True)),
            *(Conv(c.N, c.N, 3, 2, up=True), *stage(c, 0, inverse=True)),
            Conv(c.N, 3, 5, 2, up=True),
        )


class HyperAnalysis(nn.Sequential):
    """h_a: y (B, h, w, M) to z (B, h/4, w/4, N)."""

    def __init__(self, c: ModelConfig) -> None:
        super().__init__(
            *(Conv(c.M, c.N, 3, 1), *hyper_stage(c, 0, inverse=False)),
            *(Conv(c.N, c.N, 3, 2), *hyper_stage(c, 1, inverse=False)),
            Conv(c.N, c.N, 3, 2),
        )


class HyperSynthesis(nn.Sequential):
    """h_s: ẑ (B, h/4, w/4, N) to hyper features (B, h, w, 2M)."""

    def __init__(self, c: ModelConfig) -> None:
        super().__init__(
            *(Conv(c.N, c.N, 3, 2, up=True), *hyper_stage(c, 1, inverse=True)),
            *(Conv(c.N, c.N, 3, 2, up=True), *hyper_stage(c, 0, inverse=True)),
            Conv(c.N, 2 * c.M, 3, 1),
        )
