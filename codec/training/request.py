"""What to train, as `ticodec train` or a program asks for it."""

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

#: The preset to train when none is named. A CPU can train it in an hour or two.
DEFAULT_MODEL = "tic-lite"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Request:
    """A training run that starts, or one that is resumed.

    Args:
        data: folder of images. To learn labels it must have one subfolder for each class.
        model: a preset, where "vit" and "vit-lite" are classifiers of pixels. None means the
            model of `init`, or tic-lite without `init`. With `head` it is the name of installed
            weights, and None means the default weights.
        options: values of `TrainOptions` by name. The others have their defaults.
        device: where to train.
        resume: a checkpoint to continue from. It sets everything except `data`, `device` and
            `compile`. `options` may replace some of its options.
        init: name of installed weights, or a file, to start from. The file is a `.pt` or, for a
            classifier, a `.safetensors`.
        head: train a classifier on the latents of frozen weights.
        vit: the size of that classifier, a key of `VITS`.
        lmbda: one λ (for a joint model one β) instead of the preset's list.
        activation: "gdn", "leaky_relu" or "none" instead of the preset's.
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
        """Whether to train a classifier alone, on latents or on pixels."""
        return self.head or self.model in VITS

    @property
    def dimensions(self) -> dict[str, Any]:
        """Fields of the network's config that the request changes, with their new values."""
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
        """The codec that `init` names, read once. None without `init`.

        Raises:
            UsageError: `init` holds another model than `model`.
            BadInputError: A file is damaged.
        """
        if self.init is None:
            return None
        codec = find_codec(self.init)
        name = preset_name(codec.config)
        if self.model not in (None, name, codec.config.model):
            raise UsageError(f"`init` {self.init} is a {name}: leave out `model`")
        return codec

    @property
    def config(self) -> CodecConfig:
        """The config of the codec to train, without the changes in `dimensions`."""
        return self.codec.config if self.codec else preset(self.model or DEFAULT_MODEL)

    def preset(self) -> Any:
        """The config of the preset, with the changes in `dimensions`.

        Raises:
            ValueError: The config has no field of that name.
        """
        return preset(self.model or DEFAULT_MODEL, **self.dimensions)

    def refuse_dimensions(self, *changeable: str) -> None:
        """Raises UsageError when the request changes a dimension that the weights of `init` fix.

        Args:
            changeable: names of dimensions that may change.
        """
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
            raise UsageError(f"leave out {', '.join(names)}: `init` has its own")


@dataclass(frozen=True)
class Beginning:
    """What a run starts with.

    Args:
        config: dimensions of the network.
        options: options of the run.
        floats: weights by name. Weights that are missing get random values. None means that all
            weights are missing.
        history: the runs that made these weights.
        imitated: what new layers are fitted to imitate before the first step, or None.
    """

    config: Dimensions
    options: TrainOptions
    floats: dict[str, Tensor] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    imitated: Any = None
