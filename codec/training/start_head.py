"""Which classifier a request means, and the one that it begins from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ticodec import weights
from ticodec.errors import UsageError
from ticodec.models.config import STRIDE_Y, VITS, HeadConfig, IcatConfig
from ticodec.models.families import config_from

from .checkpoint import FIRST, HALVE, on_grid, without_labels
from .head_trainer import HeadTrainer
from .options import LEARNING, TrainOptions
from .pretrained import PATCH, find_classifier
from .start import labels_of


def start_head(
    data: Path,
    model: str | None,
    changes: dict[str, Any],
    device: torch.device,
    init: str | None,
    vit: str | None,
    reads_latents: bool,
    compile: bool,
) -> HeadTrainer:
    """A trainer of a classifier of its own."""
    options = TrainOptions(**{**LEARNING, **changes})
    labels = labels_of(data)
    found = find_classifier(init) if init else None
    size = VITS[vit] if vit else None
    if found is not None:
        given, size = size, found.config.vit
        if given is not None and replace(given, grid=size.grid) != size:
            raise UsageError(f"--init {init} has a Transformer of another size than {vit}")
    if reads_latents:
        entry = weights.find(model)
        dimensions = config_from(weights.read(entry)[0])
        default = dimensions.vit if isinstance(dimensions, IcatConfig) else VITS["vit"]
        if entry.model == "tic-lite":
            default = VITS["vit-lite"]
        of = (entry.name, entry.fingerprint.hex())
        config = HeadConfig("latents", dimensions.M, size or default, labels, *of, halving=True)
    else:
        config = HeadConfig("pixels", PATCH, size or VITS["vit"], labels)
    grid = options.crop // STRIDE_Y  # positions are learned for the grid of its crops
    config = replace(config, vit=replace(config.vit, grid=grid))
    if found is None:
        return HeadTrainer(config, options, device, compile=compile)
    floats, source = found.floats, None
    if (found.config.stem, found.config.fingerprint) != (config.stem, config.fingerprint):
        floats = {k: v for k, v in floats.items() if not k.startswith((FIRST, HALVE))}
        source = found.source(device)
    if found.config.labels != labels:
        floats = without_labels(floats)
    floats = on_grid(floats, grid)
    trainer = HeadTrainer(config, options, device, floats, compile, found.history)
    trainer.source = source
    return trainer
