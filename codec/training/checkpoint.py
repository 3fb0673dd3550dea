"""Checkpoints hold everything that a run needs to continue as if it had never stopped."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from ticodec.errors import BadInputError
from ticodec.files import reason, write_file

from . import parts

FORMAT = 2
#: The kind of a checkpoint of a classifier alone. Every other kind is the `kind` of a model family.
HEAD = "head"


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint, completely or not at all, see `files.write_file`.

    Raises:
        TicodecError: The file cannot be written.
    """
    buffer = BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    write_file(path, buffer.getbuffer())


def is_checkpoint(path: Path) -> bool:
    """Whether a path is a checkpoint: a `.pt` file, or a folder with a checkpoint in parts."""
    return path.suffix == ".pt" or parts.are_in(path)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint that `save` wrote, or one in parts. No code in the file is run.

    Returns:
        Its state, with tensors on the CPU. Averages stored in half precision become float32.

    Raises:
        BadInputError: It is missing, damaged or of another format.
    """
    if not os.access(path, os.R_OK):
        raise BadInputError(f"{path}: no such checkpoint, or no permission to read it")
    source = BytesIO(parts.join(path)) if path.is_dir() else path
    try:
        state = torch.load(source, map_location="cpu", weights_only=True)
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {reason(error)}") from error
    except Exception as error:  # torch raises many kinds. Some texts suggest an unsafe way to load
        text = f"{path}: damaged, or not a checkpoint of `ticodec train`, such as trunk.pt"
        raise BadInputError(text) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise BadInputError(f"{path}: not a checkpoint of this version of ticodec")
    average = state.get("average")
    if isinstance(average, dict):
        state["average"] = {name: _float32(value) for name, value in average.items()}
    return state


def kind_of(state: dict[str, Any]) -> str:
    """The kind of a checkpoint: `HEAD`, or the `kind` of a model family."""
    return str(state.get("kind", "codec"))  # the first checkpoints had no kind, and were all TIC


def _float32(value: Any) -> Any:
    """A tensor of half precision as float32. Other values do not change."""
    half = isinstance(value, torch.Tensor) and value.dtype in (torch.float16, torch.bfloat16)
    return value.float() if half else value


def random_state(sampler: torch.Generator, device: torch.device) -> dict[str, Any]:
    """The states of all random generators of a run: torch's own, and the one that draws crops."""
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if device.type == "cuda" else None,
        "sampler": sampler.get_state(),
    }


def set_random_state(state: dict[str, Any], sampler: torch.Generator, device: torch.device) -> None:
    """Inverse of `random_state`. A GPU's generator is set only if `state` comes from a GPU too."""
    torch.set_rng_state(state["torch"])
    sampler.set_state(state["sampler"])
    if device.type == "cuda" and state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"])
