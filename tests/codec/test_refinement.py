"""More effort gives latents that code a picture better, in files of the same format."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from support import make_pixels

from ticodec import container, refinement
from ticodec.codec import Codec
from ticodec.container import QUALITY_STEPS
from ticodec.models.prior import gaussian_likelihood
from ticodec.picture import Picture
from ticodec.refinement import LAMBDA_SHARE, MARGIN, Cost, refined, tiles_of

STORED = 4 * QUALITY_STEPS


def weight(codec: Codec, quality: int) -> float:
    """Bits that a squared error of 1 is worth, for pixels 0 … 255, summed over the channels."""
    return LAMBDA_SHARE * codec.config.lambdas[quality - 1] / 3


def cost_of(codec: Codec, pixels: np.ndarray, data: bytes, quality: int) -> float:
    """The cost J of a file in bits: its rate plus its weighted error."""
    decoded = codec.decode(data).pixels.astype(float)
    return 8 * len(data) + weight(codec, quality) * float(((decoded - pixels) ** 2).sum())


def test_more_effort_lowers_the_cost(tiny: Codec) -> None:
    """The files have the usual format. Their headers differ only in the checksum of latents."""
    pixels = make_pixels(150, 200)
    files = [tiny.encode(pixels, 4, effort=effort) for effort in (1, 2, 6)]
    one, two, six = (cost_of(tiny, pixels, data, 4) for data in files)
    assert six < 0.995 * two
    assert two < 0.995 * one
    headers = [container.read(data).header for data in files]
    assert len({(h.quality, h.width, h.height, h.fingerprint) for h in headers}) == 1
    assert len({h.symbols for h in headers}) == 3
    assert files[1] == tiny.encode(pixels, 4, effort=2)


def test_refined_latents_are_those_that_are_decoded(tiny: Codec) -> None:
    """Rounding does not change refined latents, so encoding them again gives the same."""
    pixels = make_pixels(70, 90)
    y, z = refined(tiny, pixels, tiny.features(pixels), STORED, 3)
    coded, y_hat = tiny.entropy.encode_known(y, z)
    assert torch.equal(y_hat, y)
    (latents,) = tiny.latents_many(tiny.containers([Picture(pixels)], 4, 3))
    assert torch.equal(latents, y)
    decoded = tiny.entropy.decode(coded.z_stream, coded.y_stream, *z.shape[:2])
    assert torch.equal(decoded.y_hat, y)


@pytest.mark.parametrize("size", [(1, 1), (1, 65), (17, 1), (37, 83)])
def test_any_size(tiny: Codec, size: tuple[int, int]) -> None:
    decoded = tiny.decode(tiny.encode(make_pixels(*size), 4, effort=2))
    assert decoded.pixels.shape == (*size, 3)


def test_grey_and_alpha(tiny: Codec) -> None:
    pixels = make_pixels(40, 50)
    grey = tiny.decode(tiny.encode(pixels[:, :, 0], effort=2))
    assert grey.grey
    assert (grey.pixels == grey.pixels[:, :, :1]).all()
    clear = tiny.decode(tiny.encode(np.concatenate([pixels, pixels[:, :, :1]], 2), effort=2))
    assert clear.alpha is not None
    assert (clear.alpha == pixels[:, :, 0]).all()


def test_weights_of_one_quality(fixed) -> None:
    codec, pixels = Codec(fixed, "cpu", bf16=False), make_pixels(40, 50)
    cost = Cost(codec, pixels, 0, torch.zeros(1, 1, codec.config.N))
    assert cost.weight == pytest.approx(LAMBDA_SHARE * 0.0067 / 3 * 255**2)
    data = codec.encode(pixels, effort=2)
    assert container.read(data).header.quality == 0
    assert codec.decode(data).pixels.shape == pixels.shape


def test_without_a_context_model(golden) -> None:
    codec, pixels = Codec.load("tiny-icat", device="cpu", bf16=False), make_pixels(96, 120)
    one, four = (
        cost_of(codec, pixels, codec.encode(pixels, 2, effort=effort), 2) for effort in (1, 4)
    )
    assert four < 0.995 * one


# -- blocks -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [*range(1, 60), 200, 1001])
def test_tiles_cover_a_side_once(monkeypatch, size: int) -> None:
    monkeypatch.setattr(refinement, "BLOCK", 16)
    covered: list[int] = []
    for tile, seen, inside in tiles_of(size):
        side = range(size)[seen]
        assert side.start % 4 == 0, "blocks begin where latents z do"
        assert side.stop % 4 == 0 or side.stop == size
        assert 0 < len(side) <= 16
        assert side[inside] == range(size)[tile]
        assert side.start in (0, tile.start - MARGIN)
        assert side.stop in (size, tile.stop + MARGIN)
        covered += range(size)[tile]
    assert covered == list(range(size))


def test_gradients_of_blocks_are_nearly_those_of_the_whole(monkeypatch, tiny: Codec) -> None:
    pixels = make_pixels(256, 448)
    y, z = tiny.scaled(tiny.features(pixels), STORED)
    y_hat = tiny.entropy.encode_known(y, z)[1]
    cost = Cost(tiny, pixels, STORED, z.round())
    whole = cost.gradient(y_hat)
    monkeypatch.setattr(refinement, "BLOCK", 16)
    blocks = cost.gradient(y_hat)
    assert not torch.equal(blocks, whole)
    assert (blocks - whole).norm() < 0.1 * whole.norm()


# -- the gradient -------------------------------------------------------------------------


@pytest.mark.parametrize("quality", [2, 7])
def test_the_gradient_is_the_gradient_of_the_cost(tiny: Codec, quality: int) -> None:
    """The expected gradient of J is computed in float64, from the pixels inside the picture and
    from the bits."""
    pixels, stored = make_pixels(70, 90) // 2 + 64, quality * QUALITY_STEPS
    y, z = tiny.scaled(tiny.features(pixels), stored)
    y_hat = tiny.entropy.encode_known(y, z)[1]
    network = copy.deepcopy(tiny.network).double()
    leaf = y_hat[None].double().requires_grad_()
    x = network.g_s(leaf * tiny.gains(stored)[1])[0, :70, :90] * 255 + 127.5
    assert 0 < x.min() < x.max() < 255, "nothing is clamped"
    error = (x - torch.from_numpy(pixels)).square().sum()
    scales, means = network.prediction(z.double().round()[None], leaf)
    bits = -gaussian_likelihood(leaf.detach(), means, scales).log2().sum()
    parts = [torch.autograd.grad(part, leaf)[0] for part in (error * weight(tiny, quality), bits)]
    assert all(part.norm() > 0.01 * sum(parts).norm() for part in parts), "both count"
    expected = sum(parts)[0]
    found = Cost(tiny, pixels, stored, z.round()).gradient(y_hat)
    assert (found - expected).norm() < 1e-4 * expected.norm()
    bf16 = Codec(tiny.entry, "cpu", bf16=True)
    found = Cost(bf16, pixels, stored, z.round()).gradient(y_hat)
    assert (found - expected).norm() < 0.08 * expected.norm()
