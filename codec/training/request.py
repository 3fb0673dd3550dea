"""What is asked of a training, as `ticodec train` or a program says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ticodec.errors import UsageError
from ticodec.models.config import VITS, CodecConfig, Dimensions
from ticodec.models.families import preset, preset_name

from .options import TrainOptions
from .pretrained import ExistingCodec, find_codec

#: The preset that is trained when none is named: the one that a CPU can train in an hour or two.
DEFAULT_MODEL = "tic-lite"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Request:
    """A training that begins anew or goes on.

    Args:
        data: folder of images; with one subfolder for each class where labels are learned.
        model: a preset; "vit" and "vit-lite" are classifiers of pixels. None is the model of
            `init`, else tic-lite. With `head`, the name of installed weights, None for the
            default ones.
        options: options that are given, see `TrainOptions`; the others have their defaults.
        device: where to train.
        resume: a checkpoint to go on from. It brings everything but `options`, which replace
            some of its own.
        init: installed weights or a file to begin from: `.pt` or, for a classifier,
            `.safetensors`.
        head: train a classifier on the latents of frozen weights; vit: its size, a key of `VITS`.
        lmbda: one λ, or β of a joint model, in place of the preset's.
        activation: "gdn", "leaky_relu" or "none", in place of the preset's.
        aggregation: whether a joint model reconstructs from its first blocks too.
        compile: run the training pass through torch.compile.
    """

    data: Path
    model: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    device: torch.device = CPU
    resume: Path | None = None
    init: str | None = None
    head: bool = False
    vit: str | None = None
    lmbda: float | None = None
    activation: str | None = None
    aggregation: bool = True
    compile: bool = False

    @property
    def classifier(self) -> bool:
        """Whether a classifier of its own is trained, on latents or pixels."""
        return self.head or self.model in VITS

    @property
    def dimensions(self) -> dict[str, Any]:
        """Fields of the network's config that are not as its preset or `init` has them."""
        changed: dict[str, Any] = {}
        if self.lmbda is not None:
            changed["lambdas"] = (self.lmbda,)
        if self.activation is not None:
            changed["activation"] = self.activation
            changed["hyper_activation"] = "none" if self.activation == "none" else "leaky_relu"
        if not self.aggregation:
            changed["aggregation"] = False
        return changed

    @cached_property
    def codec(self) -> ExistingCodec | None:
        """The codec that `init` names, read once; None without `init`.

        Raises UsageError when it is another one than `model`, BadInputError for damaged files.
        """
        if self.init is None:
            return None
        codec = find_codec(self.init)
        name = preset_name(codec.config)
        if self.model not in (None, name, codec.config.model):
            raise UsageError(f"`init` {self.init} is a {name}; leave `model` out")
        return codec

    @property
    def config(self) -> CodecConfig:
        """The dimensions of the codec to train, before any of them are changed."""
        return self.codec.config if self.codec else preset(self.model or DEFAULT_MODEL)

    def preset(self) -> Any:
        """The preset with the `dimensions` changed, a config of its kind.

        Raises ValueError when it has none of that name.
        """
        return preset(self.model or DEFAULT_MODEL, **self.dimensions)

    def refuse_dimensions(self, *changeable: str) -> None:
        """Raises UsageError when one is changed that the weights of `init` cannot change."""
        given = {
            "lambdas": ("lmbda", self.lmbda is not None),
            "activation": ("activation", self.activation is not None),
            "aggregation": ("aggregation", not self.aggregation),
        }
        names = [
            f"`{name}`"
            for field, (name, changed) in given.items()
            if changed and field not in changeable
        ]
        if names:
            raise UsageError(f"`init` has its own dimensions; leave {', '.join(names)} away")


@dataclass(frozen=True)
class Beginning:
    """What a run begins with.

    Args:
        config: dimensions of the network; options: of the run.
        floats: weights by name; what is missing begins at random. None: everything does.
        history: the runs that made these weights.
        imitated: what new layers are fitted to imitate before the first step, or None.
    """

    config: Dimensions
    options: TrainOptions
    floats: dict[str, Tensor] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    imitated: Any = None
