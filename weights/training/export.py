"""From a checkpoint to a shipped weights file: fp16 floats, integer tables, manifest, card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from ticodec.entropy.compile import compile_entropy
from ticodec.errors import BadInputError, UsageError
from ticodec.images import make_folder, write_file
from ticodec.models.config import ModelConfig
from ticodec.models.network import Network
from ticodec.weights.store import FORMAT, Entry, entries

from . import checkpoint


@torch.no_grad()
def calibration_latents(network: Network, images: Tensor) -> tuple[Tensor, Tensor]:
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


def weights_bytes(network: Network, images: Tensor) -> bytes:
    """A weights file: `float.*` in fp16, `exact.*` as integers, the config in its metadata."""
    half = {k: v.half() for k, v in network.state_dict().items()}
    network.load_state_dict({k: v.float() for k, v in half.items()})
    y, z = calibration_latents(network, images)
    exact = compile_entropy(network, y, z)
    tensors = {f"float.{k}": v.contiguous() for k, v in half.items()}
    tensors |= {f"exact.{k}": v.contiguous() for k, v in exact.items()}
    metadata = {"format": str(FORMAT), "config": json.dumps(network.config.to_dict())}
    return save(tensors, metadata)


def export(
    sources: Sequence[Path], folder: Path, name: str | None = None, default: bool = False
) -> Entry:
    """Write `NAME.safetensors` and `NAME.md` into a weights folder and enter them in its manifest.

    Args:
        sources: a checkpoint; or several of one network, which are averaged: runs that began
            from the same weights (`--init`) with other seeds.
        folder: made if it is not there.
        name: what `-m` will call it; by default the model's name.
        default: make it the default model. (The only one always is.)

    Raises BadInputError when a checkpoint is damaged, UsageError when they do not fit together.
    """
    states = [checkpoint.load(source) for source in sources]
    try:
        config = ModelConfig.from_dict(states[0]["config"])
        options = states[0]["options"]
        for state in states:
            if state["config"] != states[0]["config"]:
                raise UsageError("these checkpoints are of different networks and have no mean")
            if state["options"]["quality_range"] != options["quality_range"]:
                raise UsageError("these checkpoints were trained for different qualities")
        network = Network(config)
        network.load_state_dict(mean([state["average"] for state in states]))
        images = states[0]["calibration"]
        history = merged([state["history"] for state in states])
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        shown = ", ".join(map(str, sources))
        raise BadInputError(f"{shown}: not a checkpoint of this version: {error}") from error
    if images is None:
        raise BadInputError(f"{sources[0]}: this checkpoint was never trained")
    name = name or config.model
    data = weights_bytes(network.eval(), images)
    fields: dict[str, Any] = {
        "model": config.model,
        "file": f"{name}.safetensors",
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "parameters": sum(p.numel() for p in network.parameters()),
        "qualities": trained_range(config, options),
        "trained": summary(history),
        "history": history,
    }
    text = card(name, config, options, fields, len(states))
    manifest = entered(folder / "manifest.json", name, fields, default)
    # Only now is anything written, and the manifest last: it is what makes a file count.
    make_folder(folder)
    write_file(folder / f"{name}.safetensors", data)
    write_file(folder / f"{name}.md", text.encode())
    write_file(folder / "manifest.json", manifest.encode())
    return next(entry for entry in entries(folder) if entry.name == name)


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


def trained_range(config: ModelConfig, options: dict[str, Any]) -> list[float] | None:
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


def summary(history: Iterable[dict[str, Any]]) -> str:
    """One line: how many crops, how long, on what."""
    runs = list(history)
    crops, seconds = sum(r["crops"] for r in runs), sum(r["seconds"] for r in runs)
    devices = ", ".join(dict.fromkeys(r["device"] for r in runs))
    return f"{crops:,} crops in {seconds / 60:.0f} min on {devices}"


def card(
    name: str,
    config: ModelConfig,
    options: dict[str, Any],
    fields: dict[str, Any],
    checkpoints: int,
) -> str:
    """The model card's facts, as Markdown; what was measured is added by hand."""
    history = fields["history"]
    crops, skipped = (sum(r.get(key, 0) for r in history) for key in ("crops", "skipped"))
    several = f", the mean of {checkpoints} checkpoints" if checkpoints > 1 else ""
    lambdas = ", ".join(f"{value:g}" for value in config.lambdas)
    low_high = fields["qualities"]
    quality = f"Quality {low_high[0]:g} to {low_high[1]:g}, λ = " if low_high else "One fixed λ = "
    lines = [
        f"# {name}",
        "",
        f"Architecture `{config.model}`, N = {config.N}, M = {config.M}, "
        f"{fields['parameters']:,} parameters. SHA-256 `{fields['sha256']}`.",
        "",
        "Research weights: trained on images of mixed licences, some for research only.",
        "",
        "## How it was trained",
        "",
        f"{crops:,} crops in all; gradients clipped at {options['clip']:g}, weights averaged "
        f"with decay {options['ema']:g}{several}; {skipped} steps skipped (not finite, or a "
        f"spike). {quality}{lambdas}.",
        "",
        "| run | device | minutes | crops | of | a step | optimizer | learning rate | loss ÷ "
        "| shrunk | seed |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for number, r in enumerate(history, 1):
        rate = f"{r['lr']:g}"
        if "annealed" in r:
            rate += f" falling to {r['lr'] * (1 - r['annealed']):.1g}"
        balance = f"λ^{r['balance']:g}" if "balance" in r else "λ·130 + 0.3"
        lines.append(
            f"| {number} | {r['device']} | {r['seconds'] / 60:.1f} | {r['crops']:,} "
            f"| {r['crop']}² | {r['batch']} | {r.get('optimizer', 'adam')} | {rate} | {balance} "
            f"| {r.get('shrink', 1):g}× | {r.get('seed', 0)} |"
        )
    return "\n".join(lines) + "\n"
