"""Shared fixtures: a tiny trained network, photos made of numbers, and a real photo."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from PIL import Image
from support import GOLDEN, SAMPLES, make_pixels

# Before anything looks for weights: the tiny network is found besides the shipped ones.
os.environ["TICODEC_WEIGHTS"] = str(GOLDEN / "weights")


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


@pytest.fixture
def fixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Installed weights called "fixed", of one λ: random ones, of a small network."""
    import torch

    from ticodec.models.config import preset
    from ticodec.models.network import Network
    from ticodec.weights.training.export import export
    from ticodec.weights.training.options import TrainOptions
    from ticodec.weights.training.trainer import Trainer

    config = preset("tic", N=16, M=16, cam_heads=4, lambdas=(0.0067,))
    trainer = Trainer(config, TrainOptions(quality_range=(1, 1)), torch.device("cpu"))
    trainer.average = Network(config)
    trainer.calibration = torch.from_numpy(make_pixels(128, 128))[None]
    folder = tmp_path / "fixed"
    trainer.save(tmp_path / "fixed.pt")
    monkeypatch.setenv("TICODEC_WEIGHTS", f"{os.environ['TICODEC_WEIGHTS']}{os.pathsep}{folder}")
    return export([tmp_path / "fixed.pt"], folder, "fixed")
