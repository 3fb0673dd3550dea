"""From a checkpoint to a shipped weights file: fp16 floats, integer tables, manifest, card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from ticodec.entropy.compile import compile_entropy
from ticodec.errors import BadInputError
from ticodec.images import write_file
from ticodec.models.config import ModelConfig
from ticodec.models.network import Network
from ticodec.weights.store import FORMAT, Entry
from torch import Tensor

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


def export(source: Path, folder: Path, name: str | None = None, default: bool = False) -> Entry:
    """Write `NAME.safetensors` and `NAME.md` into a weights folder and enter them in its manifest.

    Args:
        source: a checkpoint; folder: made if it is not there.
        name: what `-m` will call it; by default the model's name.
        default: make it the default model. (The only one always is.)

    Raises BadInputError when the checkpoint is damaged.
    """
    state = checkpoint.load(source)
    try:
        config = ModelConfig.from_dict(state["config"])
        network = Network(config)
        network.load_state_dict(state["average"])
        images = state["calibration"]
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        raise BadInputError(f"{source}: not a checkpoint of this version: {error}") from error
    if images is None:
        raise BadInputError(f"{source}: this checkpoint was never trained")
    name = name or config.model
    data = weights_bytes(network.eval(), images)
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / f"{name}.safetensors", data)
    fields: dict[str, Any] = {
        "model": config.model,
        "file": f"{name}.safetensors",
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "parameters": sum(p.numel() for p in network.parameters()),
        "qualities": [1, config.levels] if config.levels > 1 else None,
        "trained": summary(state["history"]),
    }
    write_file(folder / f"{name}.md", card(name, config, state, fields).encode())
    enter(folder / "manifest.json", name, fields, default)
    return Entry(
        name, config.model, folder / f"{name}.safetensors", fields["sha256"],
        tuple(fields["qualities"]) if fields["qualities"] else None,
        fields["parameters"], fields["trained"], default,
    )  # fmt: skip


def enter(path: Path, name: str, fields: dict[str, Any], default: bool) -> None:
    """Add or replace one model in a manifest, made if it is not there."""
    manifest: dict[str, Any] = {"default": name, "models": {}}
    if path.exists():
        manifest = json.loads(path.read_text())
    manifest["models"][name] = fields
    if default or manifest["default"] not in manifest["models"]:
        manifest["default"] = name
    write_file(path, (json.dumps(manifest, indent=2) + "\n").encode())


def summary(history: Iterable[dict[str, Any]]) -> str:
    """One line: how many crops, how long, on what."""
    runs = list(history)
    crops, seconds = sum(r["crops"] for r in runs), sum(r["seconds"] for r in runs)
    devices = ", ".join(dict.fromkeys(r["device"] for r in runs))
    return f"{crops:,} crops in {seconds / 60:.0f} min on {devices}"


def card(name: str, config: ModelConfig, state: dict[str, Any], fields: dict[str, Any]) -> str:
    """The model card's facts, as Markdown; what was measured is added by hand."""
    o = state["options"]
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
        f"{state['step']:,} steps of {o['batch']} crops of {o['crop']}², Adam with "
        f"{o['warmup']} warm-up steps, gradients clipped at {o['clip']:g}, averaged with decay "
        f"{o['ema']:g}; {state['skipped']} steps skipped (not finite, or a spike); seed {o['seed']}. "
        f"Quality {o['quality_range'][0]:g} to {o['quality_range'][1]:g}, "
        f"λ = {', '.join(f'{v:g}' for v in config.lambdas)}.",
        "",
        "| run | device | learning rate | crops | minutes |",
        "| --- | --- | --- | --- | --- |",
    ]
    for number, r in enumerate(state["history"], 1):
        kind = "annealed to zero" if r.get("annealed") else "stable"
        lines.append(
            f"| {number}, {kind} | {r['device']} | {r['lr']:g} | {r['crops']:,} "
            f"| {r['seconds'] / 60:.1f} |"
        )
    return "\n".join(lines) + "\n"
