"""Three easily distinguished classes, and networks small enough to learn them in a test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from support import CPU, SMALL_RUN

from ticodec import weights
from ticodec.models.config import HeadConfig, IcatConfig, ViTConfig
from ticodec.training.entropy_trainer import TRAINED, EntropyTrainer
from ticodec.training.options import TrainOptions
from ticodec.training.pretrained import find_codec
from ticodec.training.trainer import BaseTrainer

LABELS = ("blue sea", "grass", "red")
FOLDERS = ("blue_sea", "grass", "red")
COLOURS = ((40, 60, 200), (50, 190, 60), (210, 50, 40))
VIT = ViTConfig(C=16, L=4, heads=2, grid=4)
ICAT = IcatConfig(N=16, M=16, vit=VIT, labels=LABELS, halving=True)
PIXELS = HeadConfig("pixels", 768, VIT, LABELS)
#: Options of training that learns labels, as `TrainOptions` takes them.
LEARNED: dict[str, Any] = {
    "crop": 64,
    "batch": 4,
    "lr": 1e-3,
    "warmup": 2,
    "augment": "mild",
    "weight_decay": 0.05,
    "smallest": 0.5,
}
#: The options of the first and of the second step of training a joint model or a classifier.
FIRST = TrainOptions(step=1, **LEARNED)
SECOND = replace(FIRST, step=2, weight_decay=0.0)

#: Smaller amounts of data that layers and tables are fitted to, by the name of the constant. The
#: networks above have 16 channels and need little data. Encoding as many images as real networks
#: need took most of the time of these tests.
FITS = {
    "ticodec.training.halving.FITTED_LATENTS": 128,
    "ticodec.training.head_trainer.FITTED": 32,
    "ticodec.training.head_trainer.STITCHED": 256,
    "ticodec.training.entropy_trainer.COUNTED": 32,
    "ticodec.training.export.previews.VIEWS": 1,
}

#: Facts about a run, as its history records them.
RUN = {"device": "CPU", "lr": 1e-3, "crop": 64, "batch": 4}


def toy(number: int, seed: int, side: int = 72) -> np.ndarray:
    """A picture of class `number`: its colour with noise and a gradient, (side, side, 3) uint8."""
    random = np.random.default_rng(1000 * number + seed)
    ramp = np.linspace(-30, 30, side)[:, None, None] * random.uniform(-1, 1)
    noise = random.normal(0, 20, (side, side, 1))
    return (np.array(COLOURS[number]) + ramp + noise).clip(0, 255).astype(np.uint8)


def write_toys(folder: Path, count: int = 8, names: tuple[str, ...] = FOLDERS) -> Path:
    """Write `count` pictures of each class into a folder with one subfolder per class."""
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for seed in range(count):
            Image.fromarray(toy(number % 3, seed)).save(folder / name / f"{seed}.png")
    return folder


def same(one: torch.nn.Module, two: torch.nn.Module) -> bool:
    """Whether two networks have exactly the same weights."""
    pairs = zip(one.state_dict().items(), two.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def parameters(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Copies of all parameters, by name."""
    return {name: value.detach().clone() for name, value in network.named_parameters()}


def quiet(total: int) -> None:
    """A progress bar that shows nothing."""


def of_tiny() -> HeadConfig:
    """A classifier of the latents of "tiny"."""
    entry = weights.find("tiny")
    fingerprint = entry.fingerprint.hex()
    channels = weights.read(entry)[0]["M"]
    return HeadConfig("latents", channels, VIT, LABELS, "tiny", fingerprint, halving=True)


def saved(trainer: BaseTrainer, toys: Path, path: Path, steps: int = 2) -> Path:
    """Train for a few steps and save a checkpoint."""
    data, _ = trainer.load_data(toys, quiet)
    trainer.begin_run(RUN)
    for _ in range(steps):
        trainer.train_step(data)
    trainer.save(path)
    return path


def frozen_tiny(spoilt: float = 0.0, **changes: object) -> EntropyTrainer:
    """A trainer of the tiny network with its transforms frozen.

    Args:
        spoilt: how much noise is added to each tensor of the trained parts, as a multiple of the
            tensor's standard deviation.
        changes: options that differ from SMALL_RUN.
    """
    tiny, generator = find_codec("tiny"), torch.Generator().manual_seed(5)
    floats = {
        name: value + spoilt * value.std() * torch.randn(value.shape, generator=generator)
        if name.startswith(TRAINED) and value.numel() > 1
        else value
        for name, value in tiny.floats.items()
    }
    options = replace(SMALL_RUN, **{"freeze": "transforms", "batch": 4, **changes})
    return EntropyTrainer(tiny.config, options, CPU, init=floats)
