"""Which trainer a request means, and the weights that it begins from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ticodec import weights
from ticodec.errors import BadInputError, TicodecError, UsageError
from ticodec.models.config import STRIDE_Y, VITS, CodecConfig, IcatConfig
from ticodec.models.families import config_from, family_of, preset
from ticodec.models.icat import Icat

from . import checkpoint
from .checkpoint import AGGREGATION, GAINS, HALVE, VIT, on_grid, without_labels
from .codec_trainer import Trainer
from .options import LEARNING, SECOND, TrainOptions
from .trainer import AnyTrainer

Weights = dict[str, Tensor]


def trainer_class(kind: str) -> type[AnyTrainer]:
    """The trainer of a checkpoint's kind. Those of labels import torchvision: only when asked."""
    if kind == "head":
        from .head_trainer import HeadTrainer

        return HeadTrainer
    if kind == "icat":
        from .joint_trainer import JointTrainer

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
    _refuse_teacher(kind == "head", changes)
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
        fields: of the preset's dimensions, changed; with `init`, only a joint model's "lambdas"
            (one β), and its "aggregation" left out.

    Raises UsageError when these do not go together, BadInputError for damaged files.
    """
    fields = fields or {}
    if vit is not None and vit not in VITS:
        raise UsageError(f"no Transformer {vit!r}; there are {', '.join(VITS)}")
    if vit is not None and not head:
        raise UsageError("--vit is the size of a --head")
    _refuse_teacher(head or model in VITS, changes)
    try:
        if head or model in VITS:
            if fields:
                raise UsageError(f"a classifier has no {', '.join(fields)}")
            from .start_head import start_head

            size = vit if head else model
            return start_head(data, model, changes, device, init, size, head, compile)
        grid = TrainOptions(**{**LEARNING, **changes}).crop // STRIDE_Y
        config, floats, history = _codec(data, model, fields, init, grid)
        if isinstance(config, IcatConfig):
            return _joint(config, floats, history, changes, device, compile)
        trainer = family_of(config.model).trainer_class()
        return trainer(config, TrainOptions(**changes), device, floats, compile, history)  # type: ignore[no-any-return]
    except TicodecError:
        raise
    except (ValueError, RuntimeError) as error:  # of a shape that does not fit
        raise UsageError(str(error)) from error


def _refuse_teacher(allowed: bool, changes: dict[str, Any]) -> None:
    """Refuse a teacher where it would be ignored."""
    if changes.get("teacher") and not allowed:
        raise UsageError("--teacher is for a --head and for vit; the others learn no labels alone")


def _joint(
    config: IcatConfig,
    floats: Weights | None,
    history: list[dict[str, Any]],
    changes: dict[str, Any],
    device: torch.device,
    compile: bool,
) -> AnyTrainer:
    """A trainer of a joint model.

    Begun without the aggregation that its weights have, it is given the network they are of:
    what that makes of the first images decides where it begins (`ablation.py`).
    """
    from .joint_trainer import JointTrainer

    first = changes.get("step", 2) == 1
    options = TrainOptions(**{**(LEARNING if first else SECOND), **changes})
    whole = None
    if floats and not config.aggregation:
        kept = {k: v for k, v in floats.items() if not k.startswith(AGGREGATION)}
        if kept.keys() != floats.keys():
            whole = Icat(replace(config, aggregation=True)).to(device)
            whole.load_state_dict(floats, strict=False)  # the layer of labels may be missing
            whole.eval().requires_grad_(False)
        floats = kept
    trainer = JointTrainer(config, options, device, floats, compile, history)
    trainer.whole = whole
    return trainer


def labels_of(folder: Path) -> tuple[str, ...]:
    """Names of the classes of a folder. Raises BadInputError when it has none."""
    from .data.class_folder import find_classes

    return tuple(name.replace("_", " ") for name in find_classes(folder))


def _codec(
    data: Path, model: str | None, fields: dict[str, Any], init: str | None, grid: int
) -> tuple[CodecConfig, Weights | None, list[dict[str, Any]]]:
    """CodecConfig, weights and history of a codec that begins anew.

    Args:
        grid: side of the token grid that a joint model learns positions for, that of its crops.
    """
    if init is None:
        config: CodecConfig = preset(model or "tic-lite", **fields)
        if isinstance(config, IcatConfig):
            vit = replace(config.vit, grid=grid)
            config = preset(model or "", labels=labels_of(data), vit=vit, halving=True, **fields)
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
    changeable = {"lambdas", "aggregation"}
    if fields.keys() - changeable or (fields and not isinstance(config, IcatConfig)):
        raise UsageError(f"--init has its own dimensions; leave {', '.join(fields)} away")
    if model is not None and model != config.model and preset(model).model != config.model:
        raise UsageError(f"--init {init} is a {config.model}; leave --model away")
    if isinstance(config, IcatConfig):
        labels = labels_of(data)
        if labels != config.labels:
            floats = without_labels(floats)
        config = replace(config, labels=labels, vit=replace(config.vit, grid=grid), halving=True)
        floats = on_grid(floats, grid)
        # It is fitted to what the encoder gives when the run begins and when it ends.
        floats = {k: v for k, v in floats.items() if not k.startswith(VIT + HALVE)}
        if fields.get("lambdas", config.lambdas) != config.lambdas:  # the paper's: one for each β
            floats = {k: v for k, v in floats.items() if not k.startswith(GAINS)}
        config = replace(config, **fields)
    return config, floats, history
