"""Turns checkpoints into weights files: fp16 floats, integer tables, manifest entry and card.

    checkpoints ─► sources.load ─► make_codec or make_head ─► install ─► a weights folder

A codec also gets a preview file, see `previews`. It is fitted to the images that the integers are
calibrated on. A classifier has no integer tables. Its manifest entry is inside the entry of the
codec whose latents it reads.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ticodec.errors import BadInputError, TicodecError, UsageError
from ticodec.models.codec_network import CodecNetwork
from ticodec.models.config import CodecConfig, HeadConfig
from ticodec.models.families import build, config_from, family_of
from ticodec.models.vit import ViT
from ticodec.training.symbol_counts import SymbolCounts
from ticodec.weights import Entry
from ticodec.weights.store import FORMAT

from . import tables
from .canonical import safetensors_bytes
from .cards import codec_card, head_card, summary
from .install import Made, check_folder, entry_fields, install_codec, install_head
from .one_thread import one_thread
from .previews import fit, preview_bytes, views
from .sources import Checkpoints, load


@torch.no_grad()
def calibration_latents(network: CodecNetwork, images: Tensor) -> tuple[Tensor, Tensor]:
    """Latents y and z of images (B, H, W, 3) uint8 at three qualities, gains applied.

    The shapes are (3B, h, w, M) and (3B, h/n, w/n, N). n is the stride of z divided by the stride
    of y. With a single quality level they have B instead of 3B.
    """
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
def compile_entropy(
    network: CodecNetwork, y: Tensor, z: Tensor, symbols: SymbolCounts | None = None
) -> dict[str, Tensor]:
    """All integers that coding needs: layers, tables and thresholds, by name.

    Args:
        network: a trained network on the CPU.
        y: latents of calibration images, gains applied, (B, h, w, M).
        z: hyper-latents of calibration images, (B, h/n, w/n, N).
        symbols: counts that the tables are fitted to. None means that the tables are those of
            gaussians and of the prior.
    """
    result = family_of(network.config.model).compile(network, y, z)
    counts_y, counts_z = symbols or (None, None)
    prior, centres = tables.prior_tables(network.prior, counts_z)
    result |= {f"z.{k}": v for k, v in prior.items()} | {"z.centres": centres}
    result |= {f"y.{k}": v for k, v in tables.gaussian_tables(counts_y).items()}
    return result | {"y.thresholds": tables.scale_thresholds()}


@one_thread()
def weights_bytes(
    network: CodecNetwork, images: Tensor, symbols: SymbolCounts | None = None
) -> bytes:
    """The bytes of a weights file: `float.*` in fp16, `exact.*` as integers, config in metadata.

    The same arguments give the same bytes, see `one_thread`.

    Args:
        network: a trained network on the CPU. Its weights are rounded to fp16 in place.
        images: calibration images, (B, H, W, 3) uint8.
        symbols: see `compile_entropy`.
    """
    half = {k: v.half() for k, v in network.state_dict().items()}
    network.load_state_dict({k: v.float() for k, v in half.items()})
    y, z = calibration_latents(network, images)
    exact = compile_entropy(network, y, z, symbols)
    tensors = {f"float.{k}": v for k, v in half.items()}
    tensors |= {f"exact.{k}": v for k, v in exact.items()}
    metadata = {"format": str(FORMAT), "config": json.dumps(network.config.to_dict())}
    return safetensors_bytes(tensors, metadata)


def make_codec(checkpoints: Checkpoints, name: str | None = None) -> Made:
    """The weights file, manifest entry and card of a codec.

    Args:
        checkpoints: what to export.
        name: the name for `-m`. None means the name of the model.

    Raises:
        BadInputError: The checkpoints are damaged or not of a codec.
        UsageError: The checkpoints are of step 1 of a joint model.
        TicodecError: The weights do not fit into the integers.
    """
    source = checkpoints.source
    try:
        config = config_from(checkpoints.config)
        network = build(config)
        network.load_state_dict(checkpoints.average)
        if checkpoints.symbols is not None:
            checkpoints.symbols.check(len(tables.scale_grid()), config.N)
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        message = f"{source}: not a checkpoint of a codec of this version: {error}"
        raise BadInputError(message) from error
    if checkpoints.calibration is None:
        raise BadInputError(f"{source}: this checkpoint was never trained")
    if checkpoints.options.get("step", 2) == 1:
        raise UsageError(f"{source}: this is only step 1: give it as `init` and train `step` 2")
    name = name or config.model
    data = weights_bytes(network.eval(), checkpoints.calibration, checkpoints.symbols)
    fields = entry_fields(
        name,
        data,
        model=config.model,
        parameters=sum(p.numel() for p in network.parameters()),
        qualities=trained_range(config, checkpoints.options),
        labels=len(config.labels),
        trained=summary(checkpoints.history),
        history=checkpoints.history,
    )
    card = codec_card(name, config, checkpoints.options, fields, checkpoints.count)
    with one_thread():
        layers = fit(network, views(checkpoints.calibration))
    preview = preview_bytes(layers, fields["sha256"][:8])
    fields["preview"] = entry_fields(f"{name}-preview", preview)
    return Made(name, fields, data, card, preview)


def make_head(checkpoints: Checkpoints, name: str | None = None) -> tuple[Made, HeadConfig]:
    """The weights file, manifest entry and card of a classifier, and its config.

    Args:
        checkpoints: what to export.
        name: the name. None means the name of the codec followed by "-head", or "vit" for a
            classifier of pixels.

    Raises:
        BadInputError: The checkpoints are damaged or not of a classifier.
        TicodecError: Weights are not finite.
    """
    source = checkpoints.source
    try:
        config = HeadConfig.from_dict(checkpoints.config)
        vit = ViT(config.channels, config.vit, len(config.labels), config.halving)
        vit.load_state_dict(checkpoints.average)
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        raise BadInputError(f"{source}: not a classifier of this version: {error}") from error
    if not checkpoints.history:
        raise BadInputError(f"{source}: this checkpoint was never trained")
    name = name or (f"{config.codec}-head" if config.codec else "vit")
    half = {k: v.half() for k, v in vit.state_dict().items()}
    if not all(value.isfinite().all() for value in half.values()):
        raise TicodecError(f"{source}: cannot export: some weights are not finite")
    metadata = {"format": str(FORMAT), "head": json.dumps(config.to_dict())}
    data = safetensors_bytes(half, metadata)
    fields = entry_fields(
        name,
        data,
        parameters=sum(p.numel() for p in vit.parameters()),
        labels=len(config.labels),
        trained=summary(checkpoints.history),
        history=checkpoints.history,
    )
    card = head_card(name, config, checkpoints.options, fields, checkpoints.count)
    return Made(name, fields, data, card), config


def export(
    sources: Sequence[Path],
    folder: Path,
    name: str | None = None,
    default: bool = False,
    force: bool = False,
) -> Entry:
    """Export a codec's checkpoints into a weights folder, see `make_codec` and `install_codec`."""
    check_folder(folder, name)
    entry, _ = install_codec(folder, make_codec(load(sources), name), default, force)
    return entry


def export_head(
    sources: Sequence[Path], folder: Path, name: str | None = None, force: bool = False
) -> tuple[Path, HeadConfig, str]:
    """Export a classifier's checkpoints into a folder, see `make_head` and `install_head`.

    Returns:
        The file, its config, and the name of the weights that it now belongs to, or "".
    """
    check_folder(folder, name)
    made, config = make_head(load(sources), name)
    path, owner, _ = install_head(folder, made, config.fingerprint, force)
    return path, config, owner


def trained_range(config: CodecConfig, options: dict[str, Any]) -> list[float] | None:
    """The lowest and the highest quality that were trained. Returns None for one fixed λ."""
    if config.levels == 1:
        return None
    return [min(q, config.levels) for q in options["quality_range"]]
