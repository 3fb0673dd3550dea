"""How errors of latents affect pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support import SMALL, make_pixels

from ticodec.models.codec_network import CodecNetwork
from ticodec.models.families import build
from ticodec.training.sensitivity import sensitivity


def test_costs_equal_the_effect_of_small_errors_on_pixels() -> None:
    """The effect is measured by moving the latents of one channel up or down at random."""
    torch.manual_seed(1)
    network: CodecNetwork = build(replace(SMALL, depths=(0, 0, 2))).requires_grad_(False)
    images = torch.from_numpy(np.stack([make_pixels(128, 128, seed) for seed in range(3)])) / 255
    found = sensitivity(network, images, torch.Generator().manual_seed(0))
    step, sums = 1e-2, torch.zeros(SMALL.M)
    for level in (0.0, 3.5, 7.0):
        up, down = network.scaling(torch.full((3,), level))
        y_hat = (network.g_a(images - 0.5) * up).round() * down
        x_hat = network.g_s(y_hat)
        for channel in range(SMALL.M):
            moved = y_hat.clone()
            moved[..., channel] += step * torch.randn_like(moved[..., 0]).sign()
            sums[channel] += ((network.g_s(moved) - x_hat) / step).pow(2).sum()
    wanted = sums / (3 * 3 * 8 * 8)
    torch.testing.assert_close(found, wanted, rtol=0.3, atol=0)
    assert float((found / wanted).mean()) == pytest.approx(1, abs=0.05)


def test_one_level_is_enough_for_one_trade_off() -> None:
    network = build(replace(SMALL, lambdas=(0.01,))).requires_grad_(False)
    images = torch.rand(5, 64, 64, 3)
    costs = sensitivity(network, images, torch.Generator().manual_seed(0))
    assert costs.shape == (SMALL.M,)
    assert (costs > 0).all()
