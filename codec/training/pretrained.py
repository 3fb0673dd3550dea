"""Finds existing codecs and classifiers, which a run starts from or learns from.

They come from installed weights or from checkpoints. A classifier may also be in a file of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ticodec import weights
from ticodec.classifier import network_of
from ticodec.errors import BadInputError, TicodecError, UsageError
from ticodec.models.codec_network import CodecNetwork
from ticodec.models.config import CodecConfig, HeadConfig, ViTConfig
from ticodec.models.families import build, config_from

from . import checkpoint
from .float_latents import frozen_network
from .least_squares import Source
from .parameters import FIRST, VIT
from .standardised_input import folded
from .teacher import Teacher

Weights = dict[str, Tensor]

#: Channels of a patch of 16×16 pixels.
PATCH = 3 * 16 * 16
#: Used instead of a fingerprint for a joint model that has not been exported.
UNEXPORTED = "unexported"


class ExistingCodec(NamedTuple):
    """A codec to start from.

    Args:
        config: its dimensions.
        floats: its weights by name.
        history: the runs that made the weights.
        qualities: the lowest and the highest quality that it was trained for. Both are 1 for one
            fixed λ.
    """

    config: CodecConfig
    floats: Weights
    history: list[dict[str, Any]]
    qualities: tuple[float, float]


def find_codec(init: str) -> ExistingCodec:
    """Finds a codec in installed weights or in a checkpoint.

    Args:
        init: the name of installed weights, or the path of a checkpoint.

    Raises:
        UsageError: `init` is a classifier.
        BadInputError: `init` cannot be found or is damaged.
    """
    path = Path(init)
    if not checkpoint.is_checkpoint(path):
        entry = weights.find(init)
        fields, tensors = weights.read(entry)
        floats, history = weights.floats(tensors), list(entry.history)
        return ExistingCodec(config_from(fields), floats, history, entry.qualities or (1.0, 1.0))
    state = checkpoint.load(path)
    if checkpoint.kind_of(state) == checkpoint.HEAD:
        raise UsageError(f"{init} is a classifier: give `head` to start from it")
    try:
        config = config_from(state["config"])
        low, high = (min(q, config.levels) for q in state["options"]["quality_range"])
        return ExistingCodec(config, state["average"], state["history"], (low, high))
    except (KeyError, ValueError, TypeError) as error:
        raise BadInputError(f"{init}: not a checkpoint of this version: {error}") from error


class ExistingClassifier(NamedTuple):
    """A classifier to start from or to learn from.

    Args:
        config: its dimensions.
        floats: its weights by name.
        history: the runs that made the weights.
        network: the codec whose latents it reads, if both are in one joint model. Else None.
        top: the highest quality of `network`. None if its latents are not quantised yet.
    """

    config: HeadConfig
    floats: Weights
    history: list[dict[str, Any]]
    network: CodecNetwork | None = None
    top: float | None = None

    def source(self, device: torch.device) -> Source:
        """The part of the classifier from images to the first layer of its Transformer.

        Raises:
            BadInputError: The codec whose latents it reads is not installed.
        """
        c = self.config
        embed = torch.nn.Linear(c.channels, c.vit.C)
        embed.load_state_dict(
            {k.removeprefix(FIRST): v for k, v in self.floats.items() if k.startswith(FIRST)}
        )
        embed = embed.to(device).requires_grad_(False)
        network, top = self.network, self.top
        if network is None and c.stem == "latents":
            entry = weights.find_fingerprint(bytes.fromhex(c.fingerprint), c.codec)
            network, (_, top) = frozen_network(entry, device)
        if network is not None:
            network = network.to(device).eval().requires_grad_(False)
        level = None if top is None else top - 1
        return Source(network, level, embed)

    def teacher(self, device: torch.device) -> Teacher:
        """The whole classifier, frozen.

        Raises:
            BadInputError: It is damaged, or the codec whose latents it reads is not installed.
        """
        try:
            source, vit = self.source(device), network_of(self.config, self.floats)
            channels = PATCH if source.network is None else source.network.config.M
            if self.config.channels != channels:
                raise ValueError(f"it has {self.config.channels} channels, not {channels}")
            if not all(bool(value.isfinite().all()) for value in self.floats.values()):
                raise ValueError("some of its weights are not finite")
        except TicodecError:
            raise
        except (ValueError, RuntimeError) as error:
            raise BadInputError(f"not a classifier of this version: {error}") from error
        return Teacher(source, vit.to(device))


def find_classifier(init: str) -> ExistingClassifier:
    """Finds a classifier in installed weights, in a checkpoint or in a file of its own.

    Args:
        init: the name of installed weights, or the path of a checkpoint or `.safetensors` file.

    Raises:
        UsageError: `init` has no classifier.
        BadInputError: `init` cannot be found or is damaged.
    """
    path = Path(init)
    try:
        if checkpoint.is_checkpoint(path):
            state = checkpoint.load(path)
            floats, history = state["average"], state["history"]
            if checkpoint.kind_of(state) == checkpoint.HEAD:
                config = HeadConfig.from_dict(state["config"])
                return ExistingClassifier(config, folded(floats), history)
            joint, options = config_from(state["config"]), state["options"]
            if joint.vit is None:
                raise UsageError(f"{init} is a codec that has no classifier")
            top = min(options["quality_range"][1], joint.levels) if options["step"] == 2 else None
            return _of_joint(joint, joint.vit, floats, history, top, init, UNEXPORTED)
        if path.suffix == ".safetensors":
            read, tensors = weights.read_head(path, None)
            floats = {k: v.float() for k, v in tensors.items()}
            return ExistingClassifier(HeadConfig.from_dict(read), floats, [])
        entry = weights.find(init)
        if entry.head is not None:
            read, tensors = weights.read_head(None, entry)
            floats = {k: v.float() for k, v in tensors.items()}
            return ExistingClassifier(HeadConfig.from_dict(read), floats, list(entry.head.history))
        read, tensors = weights.read(entry)
        joint, floats = config_from(read), weights.floats(tensors)
        if joint.vit is not None:
            top = (entry.qualities or (1.0, 1.0))[1]
            fingerprint, history = entry.fingerprint.hex(), list(entry.history)
            return _of_joint(joint, joint.vit, floats, history, top, init, fingerprint)
    except TicodecError:
        raise
    except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise BadInputError(f"{init}: not a classifier of this version: {error}") from error
    raise UsageError(f"the weights {init} have no classifier")


def _of_joint(
    config: CodecConfig,
    vit: ViTConfig,
    floats: Weights,
    history: list[dict[str, Any]],
    top: float | None,
    name: str,
    fingerprint: str,
) -> ExistingClassifier:
    """The classifier inside a joint model, see `ExistingClassifier`."""
    network = build(config)
    network.load_state_dict(floats)
    own = {k.removeprefix(VIT): v for k, v in floats.items() if k.startswith(VIT)}
    head = HeadConfig(
        "latents",
        channels=config.M,
        vit=vit,
        labels=config.labels,
        codec=name,
        fingerprint=fingerprint,
        halving=config.halving,
    )
    return ExistingClassifier(head, own, history, network, top)
