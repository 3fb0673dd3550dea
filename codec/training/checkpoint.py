"""Checkpoints: everything a run needs to go on as if it had never stopped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ticodec.errors import BadInputError, TicodecError

FORMAT = 2
#: Suffixes of the label layer's parameters; prefixes of the gain and aggregation parameters.
LABELS = ("head.weight", "head.bias")
GAINS = "gains."
AGGREGATION = "aggregation."
#: Prefix of a classifier's first layer, which belongs to what the classifier reads.
FIRST = "embed."
#: Prefix of the layer that halves latents; it is fitted anew for the latents of other weights.
HALVE = "halve."
#: Prefix of a joint model's classifier.
VIT = "vit."
#: What a first layer standardises latents by while it learns; folded into it in the exported file.
STANDARD = ("embed.mean", "embed.std")


def is_new(name: str) -> bool:
    """Whether a parameter may be missing from weights that a run begins from."""
    return name.endswith(LABELS) or name.startswith((GAINS, FIRST, HALVE, VIT + HALVE))


def without(floats: dict[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    """Weights without those whose names begin with one of these."""
    return {name: value for name, value in floats.items() if not name.startswith(prefixes)}


def without_labels(floats: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights without the layer that has a row for each label; a new one takes its place."""
    return {name: value for name, value in floats.items() if not name.endswith(LABELS)}


def on_grid(floats: dict[str, Tensor], grid: int) -> dict[str, Tensor]:
    """Weights whose position embeddings (1, g, g, C) are interpolated to (1, grid, grid, C)."""
    name = next((name for name in floats if name.endswith("position")), None)
    if name is None:
        raise ValueError("these weights have no position embeddings")
    learned = floats[name].permute(0, 3, 1, 2)
    if learned.shape[2] == grid:
        return floats
    resized = interpolate(learned, (grid, grid), mode="bicubic", align_corners=False)
    return {**floats, name: resized.permute(0, 2, 3, 1).contiguous()}


def save(path: Path, state: dict[str, Any]) -> None:
    """Write beside the target, then rename: a stop in the middle loses nothing.

    Raises TicodecError when the disk refuses.
    """
    part = path.with_name(path.name + ".part")
    try:
        torch.save({"format": FORMAT, **state}, part)
        part.replace(path)
    except (OSError, RuntimeError) as error:
        part.unlink(missing_ok=True)
        raise TicodecError(f"{path}: cannot write the checkpoint: {error}") from error


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint made by `save`, tensors on the CPU. No code in it is run.

    Raises BadInputError when it is missing, damaged or of another format.
    """
    if not os.access(path, os.R_OK):
        raise BadInputError(f"{path}: no such checkpoint, or not readable")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise BadInputError(f"{path}: not a checkpoint of ticodec: {error}") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise BadInputError(f"{path}: not a checkpoint of this version of ticodec")
    return state


def random_state(sampler: torch.Generator, device: torch.device) -> dict[str, Any]:
    """Where all random numbers of a run come from: torch's generators, and what draws crops."""
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if device.type == "cuda" else None,
        "sampler": sampler.get_state(),
    }


def set_random_state(state: dict[str, Any], sampler: torch.Generator, device: torch.device) -> None:
    """Inverse of `random_state`; on a GPU its own generator only when `state` is of one."""
    torch.set_rng_state(state["torch"])
    sampler.set_state(state["sampler"])
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"])
