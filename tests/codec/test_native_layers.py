"""Layers in C with the largest possible products, against the torch path."""

from __future__ import annotations

import pytest
import torch
from native_support import INSTRUCTIONS
from torch import Tensor

from ticodec import weights
from ticodec.codec import Codec
from ticodec.entropy import native
from ticodec.entropy.coder import Encoding, EntropyCoder, Symbols
from ticodec.entropy.exact import Fixed
from ticodec.entropy.native.wavefront import NativeWavefront
from ticodec.entropy.tic_hyper import features

pytestmark = pytest.mark.skipif(not native.active(), reason="the C extension is not built here")


def rows_of(count: int, least: int, largest: int, inputs: int) -> Tensor:
    """Rows of `least`, of `largest`, of both alternately, and of random values: (count, inputs)."""
    generator = torch.Generator().manual_seed(0)
    chance = torch.randint(0, 2, (count, inputs), generator=generator) * (largest - least) + least
    chance[torch.rand(count, inputs, generator=generator) < 0.1] = 0
    chance[0::4], chance[1::4] = least, largest
    chance[2::4, 0::2], chance[2::4, 1::2] = least, largest
    return chance


def extreme(bits: int) -> EntropyCoder:
    """tic-lite's coder with the largest weights in the last layer of h_s.

    Its means are the output of that layer. The layers after it only pass on positive values.
    """
    of = Codec(weights.find("tic-lite"), "cpu", bf16=False).entropy
    parameters = dict(of.ops.parameters)
    features, inputs = parameters["h_s.out.weight"].shape
    parameters["h_s.out.weight"] = rows_of(features, -(2**15), 2**15 - 1, inputs).short()
    parameters["head.context.weight"] = torch.zeros_like(parameters["head.context.weight"])
    scales = {"h_s.out": -bits - 1, "head.hyper": 0, "head.context": 0, "head.conv2": 0}
    for name, exponent in {**scales, "head.means": -6}.items():
        of_layer = parameters[f"{name}.exponent"]
        parameters[f"{name}.exponent"] = torch.full_like(of_layer, exponent)
        bias = parameters[f"{name}.bias"]
        parameters[f"{name}.bias"] = torch.zeros_like(bias)
    for name in ("hyper", "conv2", "means"):
        weight = parameters[f"head.{name}.weight"]
        parameters[f"head.{name}.weight"] = torch.eye(*weight.shape).short()
    return EntropyCoder(of.config, parameters, torch.device("cpu"))


@pytest.mark.parametrize("bits", [8, 15, 16, 17, 18, 19, 24, 25, 26])
def test_the_largest_products_equal_those_of_torch(
    bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Activations have up to `bits` bits and a sign. AVX-512 VNNI splits them by their size.

    With undamaged weights they have at most 24 bits.
    """
    of, size = extreme(bits), 2**bits
    m, n = of.config.M, of.config.N
    # Four squares of 4 × 4 positions, each with rows of one kind.
    rows = rows_of(64, -size, size - 1, n).reshape(4, 4, 4, n).transpose(1, 2)
    hidden = Fixed(rows.reshape(1, 4, 16, n).double(), 0)
    latents = of.latents
    reference = Fixed(features(of.ops, hidden).ints.flatten(0, 2), 0)
    monkeypatch.setattr(latents, "features", lambda z: reference)
    monkeypatch.setattr(latents, "hidden", lambda z: hidden.ints.flatten(0, 2).float())
    y, z = torch.zeros(4, 16, m), torch.zeros(1, 4, n)

    def coded() -> tuple[Symbols, Tensor]:
        encoding = Encoding(of, y, z)
        (y_hat,) = of.run([encoding])
        return encoding.finish().symbols, y_hat

    latents.native = None
    symbols, y_hat = coded()
    assert len(set(symbols.y)) > 8
    for instructions in INSTRUCTIONS:
        latents.native = NativeWavefront(
            native.module(), latents.context, of.thresholds, instructions
        )
        found, also = coded()
        assert found == symbols, instructions
        assert torch.equal(also, y_hat), instructions
