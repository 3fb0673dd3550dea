"""From a checkpoint to a weights file: fp16 floats, integer tables, manifest, card.

Classifiers have no integer tables, and their manifest entry is that of the weights they read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from ticodec.errors import BadInputError, TicodecError, UsageError
from ticodec.files import make_folder, write_file
from ticodec.models.codec_network import CodecNetwork
from ticodec.models.config import CodecConfig, Dimensions, HeadConfig
from ticodec.models.families import build, config_from, family_of
from ticodec.models.vit import ViT
from ticodec.training import checkpoint
from ticodec.training.standardised_input import folded
from ticodec.weights import Entry, entries
from ticodec.weights.store import FORMAT

from . import tables
from .cards import codec_card, head_card, summary


@torch.no_grad()
def calibration_latents(network: CodecNetwork, images: Tensor) -> tuple[Tensor, Tensor]:
    """Latents y (B, h, w, M) and z of images (B, H, W, 3) uint8, at three qualities."""
    levels = network.config.levels
    x = images.float() / 255 - 0.5
    y = network.g_a(x)
    scaled = []
    for level in sorted({0.0, (levels - 1) / 2, float(levels - 1)}):
        up, _ = network.scaling(torch.full((len(x),), level))
        scaled.append(y * up)
    latents = torch.cat(scaled)
    return latents, network.h_a(latents)


@torch.no_grad()
def compile_entropy(network: CodecNetwork, y: Tensor, z: Tensor) -> dict[str, Tensor]:
    """All integers that coding needs: layers, tables and thresholds, by name.

    Args:
        network: trained, on the CPU.
        y, z: latents of calibration images, gains applied: (B, h, w, M), (B, h/n, w/n, N).
    """
    result = family_of(network.config.model).compile(network, y, z)
    prior, centres = tables.prior_tables(network.prior)
    result |= {f"z.{k}": v for k, v in prior.items()} | {"z.centres": centres}
    result |= {f"y.{k}": v for k, v in tables.gaussian_tables().items()}
    return result | {"y.thresholds": tables.scale_thresholds()}


def weights_bytes(network: CodecNetwork, images: Tensor) -> bytes:
    """A weights file: `float.*` in fp16, `exact.*` as integers, the config in its metadata."""
    half = {k: v.half() for k, v in network.state_dict().items()}
    network.load_state_dict({k: v.float() for k, v in half.items()})
    y, z = calibration_latents(network, images)
    exact = compile_entropy(network, y, z)
    tensors = {f"float.{k}": v.contiguous() for k, v in half.items()}
    tensors |= {f"exact.{k}": v.contiguous() for k, v in exact.items()}
    metadata = {"format": str(FORMAT), "config": json.dumps(network.config.to_dict())}
    return save(tensors, metadata)


@dataclass
class Checkpoints:
    """What checkpoints of one network say together.

    Args:
        kind: of their trainer; config, options: theirs, as plain fields.
        average: the mean of their weights; history: every run that led to them.
        calibration: validation images (n, H, W, 3) uint8, or None; count: how many there are.
    """

    kind: str
    config: dict[str, Any]
    options: dict[str, Any]
    average: dict[str, Tensor]
    history: list[dict[str, Any]]
    calibration: Tensor | None
    count: int


def load(sources: Sequence[Path]) -> Checkpoints:
    """A checkpoint; or several of one network, whose mean is taken.

    Those are of runs that began from the same weights (`--init`) with other seeds.

    Raises BadInputError when one is damaged, UsageError when they do not fit together.
    """
    states = [checkpoint.load(source) for source in sources]
    first = states[0]
    try:
        for state in states:
            if parsed(state) != parsed(first):
                raise UsageError("these checkpoints are of different networks and have no mean")
            if state["options"]["quality_range"] != first["options"]["quality_range"]:
                raise UsageError("these checkpoints were trained for different qualities")
        return Checkpoints(
            kind=first.get("kind", "codec"),
            config=first["config"],
            options=first["options"],
            average=mean([folded(state["average"]) for state in states]),
            history=merged([state["history"] for state in states]),
            calibration=first["calibration"],
            count=len(states),
        )
    except TicodecError:
        raise
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        shown = ", ".join(map(str, sources))
        raise BadInputError(f"{shown}: not a checkpoint of this version: {error}") from error


def parsed(state: dict[str, Any]) -> Dimensions:
    """The config of a checkpoint, what older ones leave out being as it was."""
    if state.get("kind", "codec") == "head":
        return HeadConfig.from_dict(state["config"])
    return config_from(state["config"])


def export(
    sources: Sequence[Path], folder: Path, name: str | None = None, default: bool = False
) -> Entry:
    """Write `NAME.safetensors` and `NAME.md` into a weights folder and enter them in its manifest.

    Args:
        sources: checkpoints of a codec, see `load`.
        folder: made if it is not there.
        name: what `-m` will call it; by default the model's name.
        default: make it the default model. (The only one always is.)

    Raises BadInputError when a checkpoint is damaged, UsageError when they do not fit together.
    """
    found = load(sources)
    try:
        config = config_from(found.config)
        network = build(config)
        network.load_state_dict(found.average)
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        raise BadInputError(
            f"{sources[0]}: not a checkpoint of a codec of this version: {error}"
        ) from error
    if found.calibration is None:
        raise BadInputError(f"{sources[0]}: this checkpoint was never trained")
    if found.kind == "icat" and found.options["step"] == 1:
        raise UsageError(f"{sources[0]}: the first step only; --step 2 --init goes on from it")
    name = name or config.model
    check_name(folder, name, name)
    data = weights_bytes(network.eval(), found.calibration)
    fields: dict[str, Any] = {
        "model": config.model,
        "file": f"{name}.safetensors",
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "parameters": sum(p.numel() for p in network.parameters()),
        "qualities": trained_range(config, found.options),
        "labels": len(config.labels),
        "trained": summary(found.history),
        "history": found.history,
    }
    text = codec_card(name, config, found.options, fields, found.count)
    manifest = entered(folder / "manifest.json", name, fields, default)
    # Only now is anything written, and the manifest last: it is what makes a file count.
    make_folder(folder)
    write_file(folder / f"{name}.safetensors", data)
    write_file(folder / f"{name}.md", text.encode())
    write_file(folder / "manifest.json", manifest.encode())
    return next(entry for entry in entries(folder) if entry.name == name)


def export_head(
    sources: Sequence[Path], folder: Path, name: str | None = None
) -> tuple[Path, HeadConfig, str]:
    """Write a classifier's `NAME.safetensors` and `NAME.md` into a folder.

    When the folder's manifest has the weights whose latents it reads, it becomes theirs there,
    unless they classify by themselves.

    Args:
        sources: checkpoints of a classifier, see `load`.
        name: by default the weights' with "-head", or "vit" for one of pixels.

    Returns the file, its config, and the name of the weights that it now comes with, or "".
    Raises BadInputError when a checkpoint is damaged, UsageError when they do not fit together
    or the name is that of weights.
    """
    found = load(sources)
    try:
        config = HeadConfig.from_dict(found.config)
        vit = ViT(config.channels, config.vit, len(config.labels), config.halving)
        vit.load_state_dict(found.average)
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        raise BadInputError(f"{sources[0]}: not a classifier of this version: {error}") from error
    if not found.history:
        raise BadInputError(f"{sources[0]}: this checkpoint was never trained")
    name = name or (f"{config.codec}-head" if config.codec else "vit")
    path, owner = folder / "manifest.json", None
    check_name(folder, name, config.fingerprint)
    for entry in entries(folder) if path.exists() else []:
        # A joint model has its own classifier; another is used by naming its file.
        if entry.fingerprint.hex() == config.fingerprint and not entry.labels:
            owner = entry.name
    metadata = {"format": str(FORMAT), "head": json.dumps(config.to_dict())}
    half = {k: v.half().contiguous() for k, v in vit.state_dict().items()}
    if not all(value.isfinite().all() for value in half.values()):
        raise TicodecError(f"{sources[0]}: cannot export: weights that are not finite")
    data = save(half, metadata)
    fields: dict[str, Any] = {
        "file": f"{name}.safetensors",
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "parameters": sum(p.numel() for p in vit.parameters()),
        "labels": len(config.labels),
        "trained": summary(found.history),
        "history": found.history,
    }
    text = head_card(name, config, found.options, fields, found.count)
    make_folder(folder)
    write_file(folder / f"{name}.safetensors", data)
    write_file(folder / f"{name}.md", text.encode())
    if owner is not None:
        manifest = json.loads(path.read_text())
        manifest["models"][owner]["head"] = fields
        write_file(path, (json.dumps(manifest, indent=2) + "\n").encode())
    return folder / f"{name}.safetensors", config, owner or ""


def check_name(folder: Path, name: str, owner: str) -> None:
    """Raises UsageError when a file of that name belongs to others in a folder's manifest.

    `owner` is who may have it: the name of weights, or for a classifier of theirs the
    fingerprint, hexadecimal.
    """
    if not (folder / "manifest.json").exists():
        return
    for entry in entries(folder):
        taken = [entry.path.name] if entry.name != owner else []
        if entry.head is not None and entry.fingerprint.hex() != owner:
            taken.append(entry.head.path.name)
        if f"{name}.safetensors" in taken:
            raise UsageError(
                f"{folder / name}.safetensors belongs to the weights {entry.name}; take another "
                "--name"
            )


def mean(weights: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each tensor."""
    return {name: torch.stack([each[name] for each in weights]).mean(0) for name in weights[0]}


def merged(histories: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Runs of all the histories, each once: what one has in common with an earlier is left out.

    Raises UsageError when there is one that has nothing in common with the others.
    """
    runs = list(histories[0])
    for i, history in enumerate(histories[1:], 1):
        common = max(shared(history, earlier) for earlier in histories[:i])
        if not common:
            raise UsageError("these checkpoints have no training run in common, hence no mean")
        runs += history[common:]
    return runs


def shared(one: list[dict[str, Any]], two: list[dict[str, Any]]) -> int:
    """How many runs two histories begin with in common."""
    pairs = zip(one, two, strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))


def trained_range(config: CodecConfig, options: dict[str, Any]) -> list[float] | None:
    """Lowest and highest quality that was trained; None for one fixed λ."""
    if config.levels == 1:
        return None
    return [min(q, config.levels) for q in options["quality_range"]]


def entered(path: Path, name: str, fields: dict[str, Any], default: bool) -> str:
    """A manifest's text with one model added or replaced; a new one if it is not there.

    Raises BadInputError when the one that is there is damaged.
    """
    manifest: dict[str, Any] = {"default": name, "models": {}}
    if path.exists():
        entries(path.parent)  # says what is wrong with it
        manifest = json.loads(path.read_text())
    manifest["models"][name] = fields
    if default or manifest["default"] not in manifest["models"]:
        manifest["default"] = name
    return json.dumps(manifest, indent=2) + "\n"
