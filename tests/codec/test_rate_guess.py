"""The guess of what files will reach, with the weights that it was fitted to."""

from __future__ import annotations

import numpy as np
import pytest
from support import SAMPLES, make_pixels

import ticodec
from ticodec.container import QUALITY_STEPS
from ticodec.ms_ssim import decibel, ms_ssim
from ticodec.picture import Picture
from ticodec.rate_guess import Guess


@pytest.fixture(scope="module")
def shipped() -> ticodec.Codec:
    return ticodec.load("tic-plus", device="cpu")


def similarity(codec: ticodec.Codec, pixels: np.ndarray, quality: int) -> float:
    """MS-SSIM of an encoded picture, in dB."""
    (file,) = codec.containers([Picture(pixels)], quality)
    return decibel(ms_ssim(pixels, codec.decode(file).pixels) or 0)


@pytest.mark.parametrize("name", ["kodim15.png", "kodim23.png"])
def test_similarity_is_guessed_from_the_pixels(shipped: ticodec.Codec, name: str) -> None:
    """The guess is within 2 dB. Its rise between two qualities is within a fifth."""
    pixels = ticodec.read_picture(SAMPLES / name).pixels[160:352, 200:460]
    curve = Guess(shipped, shipped.features(pixels)).similarity(pixels)
    low, high = (curve.value(quality * QUALITY_STEPS) for quality in (2, 5))
    real_low, real_high = (similarity(shipped, pixels, quality) for quality in (2, 5))
    assert low == pytest.approx(real_low, abs=2)
    assert high - low == pytest.approx(real_high - real_low, rel=0.2)


@pytest.mark.parametrize("make", [np.zeros, np.ones])
def test_similarity_of_even_pictures(shipped: ticodec.Codec, make) -> None:
    """Pictures without detail are very similar. The guess is large, finite, and never falls."""
    pixels = (make((161, 170, 3)) * 255).astype(np.uint8)
    values = Guess(shipped, shipped.features(pixels)).similarity(pixels).values
    assert np.isfinite(values).all()
    assert (np.diff(values) >= 0).all()
    busy = make_pixels(161, 170)
    assert values[0] > Guess(shipped, shipped.features(busy)).similarity(busy).values[-1]
