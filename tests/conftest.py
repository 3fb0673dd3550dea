"""Shared fixtures: a tiny trained network, photos made of numbers, and the real samples."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden"
SAMPLES = ROOT / "docs" / "samples"

# Before anything looks for weights: the tiny network is found besides the shipped ones.
os.environ["TICODEC_WEIGHTS"] = str(GOLDEN / "weights")


def make_pixels(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture with smooth areas, edges and texture, (height, width, 3) uint8."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / 48
    smooth = np.stack([np.sin(x + seed), np.cos(y - x), np.sin(y * 0.7 + 1)], -1) * 70 + 120
    smooth[(x * 3 % 2 < 1) & (y % 1.5 < 0.4)] += 60
    texture = random.normal(0, 12, (height, width, 3)) * (x[..., None] % 2 > 1)
    return (smooth + texture).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of golden files and of the tiny network's weights."""
    return GOLDEN


@pytest.fixture(scope="session")
def sample() -> Path:
    """A real photo, 768×512."""
    return SAMPLES / "kodim23.png"


@pytest.fixture(scope="session")
def tiny():
    """The tiny network's codec, on one machine-independent path: CPU, float32."""
    import ticodec

    return ticodec.load("tiny", device="cpu", bf16=False)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A 90×70 PNG."""
    path = tmp_path / "photo.png"
    Image.fromarray(make_pixels(70, 90)).save(path)
    return path


@pytest.fixture
def picture():
    """Factory: (height, width) to a `Picture`."""
    from ticodec.images import Picture

    return lambda height, width, seed=0: Picture(make_pixels(height, width, seed))
