"""Which trainer a request means, and the weights that it begins from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ticodec import weights
from ticodec.errors import BadInputError, UsageError
from ticodec.models.analysis_config import HeadConfig, IcatConfig
from ticodec.models.config import STRIDE_Y, VITS, Config, config_from, preset

from . import checkpoint
from .base import AnyTrainer
from .checkpoint import GAINS, LABELS
from .options import TrainOptions
from .trainer import Trainer

Weights = dict[str, Tensor]

#: What differs from the options' own defaults when labels are learned, as the paper has it:
#: its first step and its classifiers; its second step.
LEARNING = {"crop": 224, "batch": 32, "lr": 1e-3, "weight_decay": 0.05, "augment": "full"}
SECOND = {"crop": 224, "batch": 16, "lr": 1e-4}
#: Channels of a 16×16 patch.
PATCH = 3 * 16 * 16


def trainer_class(kind: str) -> type[AnyTrainer]:
    """The trainer of a checkpoint's kind. Those of labels import torchvision: only when asked."""
    if kind == "head":
        from .head import HeadTrainer

        return HeadTrainer
    if kind == "icat":
        from .joint import JointTrainer

        return JointTrainer
    return Trainer


def resume(path: Path, device: torch.device, compile: bool, changes: dict[str, Any]) -> AnyTrainer:
    """A trainer that goes on from a checkpoint of any kind; `changes` replace options.

    Raises BadInputError when the file is no checkpoint.
    """
    state = checkpoint.load(path)
    kind, crop = state.get("kind", "codec"), state["options"].get("crop")
    if kind != "codec" and changes.get("crop", crop) != crop:
        raise UsageError(f"{path} was begun at --crop {crop}; --init takes it to other crops")
    return trainer_class(kind).resume(path, device, compile, **changes)


def start(
    data: Path,
    model: str | None,
    changes: dict[str, Any],
    device: torch.device,
    *,
    init: str | None = None,
    head: bool = False,
    vit: str | None = None,
    fields: dict[str, Any] | None = None,
    compile: bool = False,
) -> AnyTrainer:
    """A trainer that begins anew.

    Args:
        data: folder of images; with one subfolder a class where labels are learned.
        model: a preset, or with `head` the name of installed weights; None: tic-lite, or that of
            `init`. "vit" and "vit-lite" are classifiers of pixels.
        changes: options that differ from the defaults.
        init: installed weights or a file to begin from: `.pt` or, for a head, `.safetensors`.
        head: train a classifier on the latents of frozen weights; vit: its size.
        fields: of the preset's dimensions, changed.

    Raises UsageError when these do not go together, BadInputError for damaged files.
    """
    fields = fields or {}
    if vit is not None and vit not in VITS:
        raise UsageError(f"no Transformer {vit!r}; there are {', '.join(VITS)}")
    if vit is not None and not head:
        raise UsageError("--vit is the size of a --head")
    try:
        if head or model in VITS:
            if fields:
                raise UsageError(f"a classifier has no {', '.join(fields)}")
            return _head(data, model, changes, device, init, vit if head else model, head, compile)
        grid = TrainOptions(**{**LEARNING, **changes}).crop // STRIDE_Y
        config, floats, history = _codec(data, model, fields, init, grid)
        if isinstance(config, IcatConfig):
            first = changes.get("step", 2) == 1
            options = TrainOptions(**{**(LEARNING if first else SECOND), **changes})
        else:
            options = TrainOptions(**changes)
        kind = trainer_class("icat" if isinstance(config, IcatConfig) else "codec")
        return kind(config, options, device, floats, compile, history)
    except (ValueError, RuntimeError) as error:  # of a shape that does not fit
        raise UsageError(str(error)) from error


def labels_of(folder: Path) -> tuple[str, ...]:
    """Names of the classes of a folder. Raises BadInputError when it has none."""
    from .classes import find_classes

    return tuple(name.replace("_", " ") for name in find_classes(folder))


def _codec(
    data: Path, model: str | None, fields: dict[str, Any], init: str | None, grid: int
) -> tuple[Config, Weights | None, list[dict[str, Any]]]:
    """Config, weights and history of a codec that begins anew.

    Args:
        grid: side of the token grid that a joint model learns positions for, that of its crops.
    """
    if init is None:
        config: Config = preset(model or "tic-lite", **fields)
        if isinstance(config, IcatConfig):
            vit = replace(config.vit, grid=grid)
            config = preset(model or "", labels=labels_of(data), vit=vit, **fields)
        return config, None, []
    if Path(init).suffix == ".pt":
        state = checkpoint.load(Path(init))
        if state.get("kind", "codec") == "head":
            raise UsageError(f"{init} is a classifier; --head begins from it")
        try:
            config, floats = config_from(state["config"]), state["average"]
        except (KeyError, ValueError) as error:
            raise BadInputError(f"{init}: not a checkpoint of this version: {error}") from error
        history = state["history"]
    else:
        entry = weights.find(init)
        read, tensors = weights.read(entry)
        config, floats = config_from(read), weights.floats(tensors)
        history = list(entry.history)
    if fields.keys() - {"lambdas"} or (fields and not isinstance(config, IcatConfig)):
        raise UsageError(f"--init has its own dimensions; leave {', '.join(fields)} away")
    if model is not None and model != config.model and preset(model).model != config.model:
        raise UsageError(f"--init {init} is a {config.model}; leave --model away")
    if isinstance(config, IcatConfig):
        labels = labels_of(data)
        if labels != config.labels:
            floats = _without_labels(floats)
        config = replace(config, labels=labels, vit=replace(config.vit, grid=grid))
        floats = _on_grid(floats, grid)
        if fields and fields["lambdas"] != config.lambdas:  # the paper's: a network for each β
            config = replace(config, lambdas=fields["lambdas"])
            floats = {k: v for k, v in floats.items() if not k.startswith(GAINS)}
    return config, floats, history


def _head(
    data: Path,
    model: str | None,
    changes: dict[str, Any],
    device: torch.device,
    init: str | None,
    vit: str | None,
    reads_latents: bool,
    compile: bool,
) -> AnyTrainer:
    """A trainer of a classifier of its own."""
    if not reads_latents and changes.get("views"):
        raise UsageError("--views is for a --head: there is nothing to encode for pixels")
    options = TrainOptions(**{**LEARNING, **changes})
    labels = labels_of(data)
    found = _begun(init) if init else None
    size = VITS[vit] if vit else None
    if found is not None:
        given, size = size, found[0].vit
        if given is not None and replace(given, grid=size.grid) != size:
            raise UsageError(f"--init {init} has a Transformer of another size than {vit}")
    if reads_latents:
        entry = weights.find(model)
        dimensions = config_from(weights.read(entry)[0])
        default = dimensions.vit if isinstance(dimensions, IcatConfig) else VITS["vit"]
        if entry.model == "tic-lite":
            default = VITS["vit-lite"]
        config = HeadConfig(
            "latents", dimensions.M, size or default, labels, entry.name, entry.fingerprint.hex()
        )
    else:
        config = HeadConfig("pixels", PATCH, size or VITS["vit"], labels)
    grid = options.crop // STRIDE_Y  # positions are learned for the grid of its crops
    config = replace(config, vit=replace(config.vit, grid=grid))
    floats: Weights | None = None
    history: list[dict[str, Any]] = []
    if found is not None:
        began, floats, history = found
        if (began.stem, began.channels) != (config.stem, config.channels):
            raise UsageError(f"--init {init} reads other things than this classifier is to read")
        if began.labels != labels:
            floats = _without_labels(floats)
        floats = _on_grid(floats, grid)
    return trainer_class("head")(config, options, device, floats, compile, history)


def _begun(init: str) -> tuple[HeadConfig, Weights, list[dict[str, Any]]]:
    """Config, weights and history of a classifier to begin from: of a file, or of weights."""
    path = Path(init)
    try:
        if path.suffix == ".pt":
            state = checkpoint.load(path)
            return HeadConfig.from_dict(state["config"]), state["average"], state["history"]
        if path.suffix == ".safetensors":
            read, tensors = weights.read_head(path, None)
            return HeadConfig.from_dict(read), {k: v.float() for k, v in tensors.items()}, []
        entry = weights.find(init)
        if entry.head is not None:
            read, tensors = weights.read_head(None, entry)
            floats = {k: v.float() for k, v in tensors.items()}
            return HeadConfig.from_dict(read), floats, list(entry.head.history)
        config, tensors = config_from(weights.read(entry)[0]), weights.read(entry)[1]
        if isinstance(config, IcatConfig):
            own = weights.floats(tensors, "vit.")
            as_head = HeadConfig(
                "latents", config.M, config.vit, config.labels, init, entry.fingerprint.hex()
            )
            return as_head, own, list(entry.history)
    except (KeyError, ValueError) as error:
        raise BadInputError(f"{init}: not a classifier of this version: {error}") from error
    raise UsageError(f"the weights {init} have no classifier to begin from")


def _without_labels(floats: Weights) -> Weights:
    """Weights without the layer that has a row a label; a new one takes its place."""
    return {name: value for name, value in floats.items() if not name.endswith(LABELS)}


def _on_grid(floats: Weights, grid: int) -> Weights:
    """Weights whose position embeddings (1, g, g, C) are interpolated to (1, grid, grid, C)."""
    name = next((name for name in floats if name.endswith("position")), None)
    if name is None:
        raise ValueError("these weights have no position embeddings")
    learned = floats[name].permute(0, 3, 1, 2)
    if learned.shape[2] == grid:
        return floats
    found = interpolate(learned, (grid, grid), mode="bicubic", align_corners=False)
    return {**floats, name: found.permute(0, 2, 3, 1).contiguous()}
