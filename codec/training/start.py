"""Finds the class of trainer for a request and makes the trainer, ready to run.

request ─► kind ─► trainer class ─┬─► begin:  config, options, weights, history ─► trainer
                                  └─► resume: a checkpoint ──────────────────────► trainer
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ticodec.errors import BadInputError, TicodecError, UsageError
from ticodec.models.config import VITS
from ticodec.models.families import FAMILIES, family_of

from . import checkpoint
from .options import check_resumable
from .request import Request
from .trainer import AnyTrainer


def start(request: Request) -> AnyTrainer:
    """Makes the trainer for a request.

    Raises:
        UsageError: Parts of the request do not fit together.
        BadInputError: A file is damaged.
    """
    if request.resume is not None:
        _check_resuming(request)
        return resume(request.resume, request.device, request.compile, request.options)
    if request.vit is not None and request.vit not in VITS:
        raise UsageError(f"no size {request.vit!r} for `vit`: choose one of {', '.join(VITS)}")
    if request.vit is not None and not request.head:
        raise UsageError("`vit` sets the size of the classifier of `head`: give `head` too")
    if request.lmbda is not None and not 0 < request.lmbda < math.inf:
        raise UsageError("`lmbda` must be a number above 0")
    try:
        frozen = bool(request.options.get("freeze"))
        return trainer_class(kind_of(request), frozen).begin(request)
    except TicodecError:
        raise
    except (ValueError, RuntimeError) as error:  # a tensor has a shape that does not fit
        raise UsageError(str(error)) from error


def resume(
    path: Path,
    device: torch.device,
    compile: bool = False,
    options: Mapping[str, Any] | None = None,
) -> AnyTrainer:
    """Makes a trainer that continues from a checkpoint of any kind.

    Args:
        path: the checkpoint.
        device: where to train.
        compile: run the training pass through torch.compile.
        options: replace options of the checkpoint.

    Raises:
        BadInputError: The file is no checkpoint.
        UsageError: An option cannot change, or this kind of training does not take it.
    """
    given = options or {}
    check_resumable(given)
    state = checkpoint.load(path)
    if "optimizer" not in state:
        raise UsageError(
            f"{path} has only averaged weights, which cannot be resumed: give it as `init`"
        )
    stored = state.get("options")
    frozen = isinstance(stored, dict) and bool(stored.get("freeze"))
    kind = trainer_class(checkpoint.kind_of(state), frozen)
    return kind.restored(path, state, device, compile, given)


def kind_of(request: Request) -> str:
    """The kind of trainer for a request that resumes nothing."""
    if request.classifier:
        return checkpoint.HEAD
    return family_of(request.config.model).kind


def trainer_class(kind: str, frozen: bool = False) -> type[AnyTrainer]:
    """The class of trainer for a kind.

    It is imported only now, because trainers that learn labels import torchvision.

    Args:
        kind: as a checkpoint stores it.
        frozen: whether the option `freeze` is given. Only TIC has it. Other trainers refuse it.

    Raises:
        UsageError: The trainer needs the extra `train`, which is not installed.
        BadInputError: There is no such kind.
    """
    if frozen and kind == "codec":
        from .entropy_trainer import EntropyTrainer

        return EntropyTrainer
    if kind == checkpoint.HEAD:
        from .head_trainer import HeadTrainer

        return HeadTrainer
    for family in FAMILIES:
        if family.kind == kind:
            return family.trainer_class()  # type: ignore[no-any-return]
    raise BadInputError(f"this version of ticodec cannot read checkpoints of the kind {kind!r}")


def _check_resuming(request: Request) -> None:
    """Raises UsageError when a part of the request is given that the checkpoint already sets."""
    names = ("model", "init", "head", "vit", "lmbda", "activation", "aggregation")
    default = Request(request.data)
    given = [name for name in names if getattr(request, name) != getattr(default, name)]
    if given:
        shown = ", ".join(f"`{name}`" for name in given)
        raise UsageError(f"leave out {shown}: a resumed run keeps its own")
