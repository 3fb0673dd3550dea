"""Compares PSNR and MS-SSIM with those of scikit-image."""

from __future__ import annotations

import math
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from support import SAMPLES, make_pixels

from ticodec import ms_ssim as metrics
from ticodec.psnr import psnr

# From Wang, Simoncelli and Bovik 2003.
WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    """Pixels after encoding and decoding as JPEG."""
    out = BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=quality)
    return np.array(Image.open(out))


def reference_ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """MS-SSIM by its definition, with scikit-image's SSIM.

    A huge K1 makes the luminance term 1, so that only the contrast-structure term is left.
    """
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    options |= {"data_range": 255}
    channels = []
    for channel in range(3):
        x, y = a[..., channel].astype(float), b[..., channel].astype(float)
        product = 1.0
        for scale, weight in enumerate(WEIGHTS):
            last = scale == len(WEIGHTS) - 1
            product *= structural_similarity(x, y, K1=0.01 if last else 1e6, **options) ** weight
            h, w = x.shape
            x, y = (s[: h // 2 * 2, : w // 2 * 2].reshape(h // 2, 2, w // 2, 2) for s in (x, y))
            x, y = x.mean((1, 3)), y.mean((1, 3))
        channels.append(product)
    return float(np.mean(channels))


@pytest.fixture(params=["photo", "made"])
def pixels(request) -> np.ndarray:
    if request.param == "photo":
        return np.array(Image.open(SAMPLES / "kodim15.png").convert("RGB"))
    return make_pixels(192, 224)


@pytest.mark.parametrize("quality", [10, 75])
def test_metrics_agree_with_scikit_image(pixels: np.ndarray, quality: int) -> None:
    worse = jpeg(pixels, quality)
    assert psnr(pixels, worse) == pytest.approx(peak_signal_noise_ratio(pixels, worse))
    found = metrics.ms_ssim(pixels, worse)
    assert found == pytest.approx(reference_ms_ssim(pixels, worse), abs=2e-5)


def test_psnr_of_known_errors() -> None:
    grey = np.full((8, 8, 3), 100, np.uint8)
    assert psnr(grey, grey + 1) == pytest.approx(48.1308, abs=1e-4)
    assert psnr(np.zeros_like(grey), np.full_like(grey, 255)) == 0
    assert psnr(grey, grey) == math.inf


def test_ms_ssim_needs_images_large_enough_for_its_scales(pixels: np.ndarray) -> None:
    assert metrics.ms_ssim(pixels, pixels) == pytest.approx(1, abs=1e-6)
    square = np.ascontiguousarray(pixels[:161, :161])
    assert metrics.ms_ssim(square, square) is not None
    assert metrics.ms_ssim(square[:160], square[:160]) is None


def test_decibels() -> None:
    assert metrics.decibel(0.99) == pytest.approx(20)
    assert metrics.decibel(1.0) == math.inf
