"""A whole TIC network, as it is trained.

    x ─► g_a ─► ·gain(q) ─► y ─► h_a ─► z ─► noise ─► prior ─► bits of z
                            │           └─► round ─► h_s ─┐
                            ├─► noise ─► CAM ─────────────┴─► head ─► scales, means ─► bits of y
                            └─► round(y - means) + means ─► ÷gain(q) ─► g_s ─► x̂

For the rate, noise replaces rounding. For the distortion, latents are really rounded, and the
gradient passes straight through. Coding uses g_a, h_a and g_s from here, and the integer
versions of h_s, CAM and head from `ticodec.entropy`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .cam import context_modules
from .codec_network import CodecNetwork, Gains, straight_through_round
from .config import ModelConfig
from .prior import FactorizedPrior
from .tic_transforms import Analysis, HyperAnalysis, HyperSynthesis, Synthesis


class Output(NamedTuple):
    """The result of a training pass.

    Args:
        x_hat: the reconstruction, (B, H, W, 3), in about [0, 1].
        bits_y, bits_z: the bits of y and of z with noise, (B,). They have a gradient.
        rounded: the bits of the rounded y and z together, (B,). They have no gradient.
    """

    x_hat: Tensor
    bits_y: Tensor
    bits_z: Tensor
    rounded: Tensor


class Network(CodecNetwork):
    """TIC, TIC+ or tic-lite, depending on the config."""

    config: ModelConfig

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.g_a, self.g_s = Analysis(config), Synthesis(config)
        self.h_a, self.h_s = HyperAnalysis(config), HyperSynthesis(config)
        self.cam, self.head = context_modules(config)
        self.prior = FactorizedPrior(config.N)
        self.gains = Gains(config.lambdas, config.M) if config.levels > 1 else None
        self.vit = None

    def predicted(self, hyper: Tensor, y_hat: Tensor) -> tuple[Tensor, Tensor]:
        """Scales and means from ẑ and the earlier neighbours in ŷ. See `CodecNetwork`."""
        scales, means = self.head(hyper, self.cam(y_hat))
        return scales.float(), means.float()

    def forward(self, x: Tensor, level: Tensor) -> Output:
        """Training pass.

        Args:
            x: images (B, H, W, 3), float32 in [0, 1]. H and W are multiples of 64.
            level: the quality level of each image, (B,), float in [0, levels - 1].
        """
        up, down = self.scaling(level)
        y = self.g_a(x - 0.5).float() * up  # (B, H/16, W/16, M)
        z = self.h_a(y).float()  # (B, H/64, W/64, N)
        noisy = y + torch.rand_like(y) - 0.5
        scales, means = self.prediction(straight_through_round(z), noisy)
        y_hat = straight_through_round(y - means) + means
        x_hat = self.g_s(y_hat * down).float() + 0.5
        bits = self.bits(noisy, z + torch.rand_like(z) - 0.5, scales, means)
        return Output(x_hat, *bits, self.rounded_bits(y, z, scales, means))
