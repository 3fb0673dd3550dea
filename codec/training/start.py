"""Which trainer a request means, and the trainer, ready to run.

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
    """The trainer of a request.

    Raises UsageError when its parts do not go together, BadInputError for damaged files.
    """
    if request.resume is not None:
        _check_resuming(request)
        return resume(request.resume, request.device, request.compile, request.options)
    if request.vit is not None and request.vit not in VITS:
        raise UsageError(f"no Transformer {request.vit!r}; there are {', '.join(VITS)}")
    if request.vit is not None and not request.head:
        raise UsageError("`vit` is the size of a classifier of latents: give `head` too")
    if request.lmbda is not None and not 0 < request.lmbda < math.inf:
        raise UsageError("`lmbda` must be a number above 0")
    try:
        frozen = bool(request.options.get("freeze"))
        return trainer_class(kind_of(request), frozen).begin(request)
    except TicodecError:
        raise
    except (ValueError, RuntimeError) as error:  # of a shape that does not fit
        raise UsageError(str(error)) from error


def resume(
    path: Path,
    device: torch.device,
    compile: bool = False,
    options: Mapping[str, Any] | None = None,
) -> AnyTrainer:
    """A trainer that goes on from a checkpoint of any kind; `options` replace some of its own.

    Raises BadInputError when the file is no checkpoint, UsageError for options that it cannot take.
    """
    given = options or {}
    check_resumable(given)
    state = checkpoint.load(path)
    if "optimizer" not in state:
        raise UsageError(f"{path} has averaged weights alone; `init` begins a run from them")
    stored = state.get("options")
    frozen = isinstance(stored, dict) and bool(stored.get("freeze"))
    kind = trainer_class(checkpoint.kind_of(state), frozen)
    return kind.restored(path, state, device, compile, given)


def kind_of(request: Request) -> str:
    """The kind of trainer that a request begins anew."""
    if request.classifier:
        return checkpoint.HEAD
    return family_of(request.config.model).kind


def trainer_class(kind: str, frozen: bool = False) -> type[AnyTrainer]:
    """The trainer of a kind. Those of labels import torchvision: only when asked.

    Args:
        frozen: with the option `freeze`, which TIC alone has: other trainers refuse it.

    Raises UsageError when the extra `train` is needed and not installed.
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
    raise BadInputError(f"a checkpoint of a kind that this ticodec does not know: {kind!r}")


def _check_resuming(request: Request) -> None:
    """Raises UsageError when something is given that the checkpoint brings along."""
    names = ("model", "init", "head", "vit", "lmbda", "activation", "aggregation")
    default = Request(request.data)
    given = [name for name in names if getattr(request, name) != getattr(default, name)]
    if given:
        shown = ", ".join(f"`{name}`" for name in given)
        raise UsageError(f"`resume` brings what {shown} would set; leave that away")
