"""The rates that training counts: with noise, and of rounded latents."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from support import SAMPLES, SMALL

import ticodec
from ticodec import weights
from ticodec.models.families import build, config_from


@torch.no_grad()
@pytest.mark.parametrize("name", ["tic-plus", "tic-lite", "icat-lite"])
def test_bits_of_rounded_latents_match_a_file(name: str) -> None:
    """This holds for shipped weights at the lowest quality, where most channels are zero."""
    entry = weights.find(name)
    fields, tensors = weights.read(entry)
    network = build(config_from(fields))
    network.load_state_dict(weights.floats(tensors))
    pixels = np.asarray(Image.open(SAMPLES / "kodim23.png"))[100:356, 200:456]
    x = torch.from_numpy(pixels.copy())[None].float() / 255
    torch.manual_seed(0)
    output = network.eval()(x, torch.zeros(1))
    data = ticodec.load(name, device="cpu", bf16=False).encode(pixels.copy(), quality=1)
    streams = 8 * (len(data) - 40)  # without the container
    assert float(output.rounded) == pytest.approx(streams, rel=0.08)
    assert float(output.bits_y + output.bits_z) > 1.5 * streams


@torch.no_grad()
def test_a_latent_that_is_always_zero_takes_bits_only_with_noise() -> None:
    network = build(SMALL)
    y, z = torch.zeros(1, 4, 4, 16), torch.zeros(1, 1, 1, 16)
    scales, means = torch.full_like(y, 0.01), torch.zeros_like(y)
    bits_y, bits_z = network.bits(y, z, scales, means)
    assert float(bits_y) < 0.01
    assert float(network.rounded_bits(y + 0.4, z - 0.4, scales, means)) == float(bits_y + bits_z)
    noisy = torch.linspace(-0.5, 0.5, y.numel()).view_as(y)
    noisy_bits, _ = network.bits(noisy, z, scales, means)
    assert float(noisy_bits) / y.numel() == pytest.approx(0.15, abs=0.01)


def test_rounded_bits_have_no_gradient() -> None:
    output = build(SMALL)(torch.rand(2, 64, 64, 3), torch.zeros(2))
    assert output.bits_y.requires_grad
    assert not output.rounded.requires_grad
