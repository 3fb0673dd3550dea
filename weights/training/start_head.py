"""Which classifier a request means, and the one that it begins from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ticodec import weights
from ticodec.errors import BadInputError, UsageError
from ticodec.models.analysis_config import HeadConfig, IcatConfig
from ticodec.models.build import AnyNetwork, build
from ticodec.models.config import STRIDE_Y, VITS, config_from

from . import checkpoint
from .checkpoint import FIRST, HALVE, on_grid, without_labels
from .head import HeadTrainer
from .latents import frozen_network
from .options import LEARNING, TrainOptions
from .standard import folded
from .start import labels_of
from .stitch import Source

Weights = dict[str, Tensor]

#: Channels of a 16×16 patch.
PATCH = 3 * 16 * 16
#: Stands for the fingerprint of a joint model that is still in training.
UNEXPORTED = "unexported"


def start_head(
    data: Path,
    model: str | None,
    changes: dict[str, Any],
    device: torch.device,
    init: str | None,
    vit: str | None,
    reads_latents: bool,
    compile: bool,
) -> HeadTrainer:
    """A trainer of a classifier of its own."""
    options = TrainOptions(**{**LEARNING, **changes})
    labels = labels_of(data)
    found = _begun(init) if init else None
    size = VITS[vit] if vit else None
    if found is not None:
        given, size = size, found.config.vit
        if given is not None and replace(given, grid=size.grid) != size:
            raise UsageError(f"--init {init} has a Transformer of another size than {vit}")
    if reads_latents:
        entry = weights.find(model)
        dimensions = config_from(weights.read(entry)[0])
        default = dimensions.vit if isinstance(dimensions, IcatConfig) else VITS["vit"]
        if entry.model == "tic-lite":
            default = VITS["vit-lite"]
        of = (entry.name, entry.fingerprint.hex())
        config = HeadConfig("latents", dimensions.M, size or default, labels, *of, halving=True)
    else:
        config = HeadConfig("pixels", PATCH, size or VITS["vit"], labels)
    grid = options.crop // STRIDE_Y  # positions are learned for the grid of its crops
    config = replace(config, vit=replace(config.vit, grid=grid))
    if found is None:
        return HeadTrainer(config, options, device, compile=compile)
    floats, source = found.floats, None
    if (found.config.stem, found.config.fingerprint) != (config.stem, config.fingerprint):
        floats = {k: v for k, v in floats.items() if not k.startswith((FIRST, HALVE))}
        source = found.source(device)
    if found.config.labels != labels:
        floats = without_labels(floats)
    floats = on_grid(floats, grid)
    trainer = HeadTrainer(config, options, device, floats, compile, found.history)
    trainer.source = source
    return trainer


class Begun(NamedTuple):
    """A classifier to begin from.

    Args:
        config, floats, history: its dimensions, its weights, and the runs that made them.
        network: the codec whose latents it reads, where that came along with it.
        top: the highest quality of that codec; None: its latents were not quantised yet.
    """

    config: HeadConfig
    floats: Weights
    history: list[dict[str, Any]]
    network: AnyNetwork | None = None
    top: float | None = None

    def source(self, device: torch.device) -> Source:
        """It as far as its first layer. Raises BadInputError when its codec is not installed."""
        c = self.config
        embed = torch.nn.Linear(c.channels, c.vit.C)
        embed.load_state_dict(
            {k.removeprefix(FIRST): v for k, v in self.floats.items() if k.startswith(FIRST)}
        )
        network, top = self.network, self.top
        if network is None and c.stem == "latents":
            entry = weights.find_fingerprint(bytes.fromhex(c.fingerprint), c.codec)
            network, (_, top) = frozen_network(entry, device)
        if network is not None:
            network = network.to(device).eval().requires_grad_(False)
        level = None if top is None else top - 1
        return Source(network, level, embed.to(device).requires_grad_(False))


def _begun(init: str) -> Begun:
    """A classifier to begin from: of a file, of weights, or of a joint model in training."""
    path = Path(init)
    try:
        if path.suffix == ".pt":
            state = checkpoint.load(path)
            floats, history = state["average"], state["history"]
            kind = state.get("kind", "codec")
            if kind == "codec":
                raise UsageError(f"{init} is a codec that has no classifier to begin from")
            if kind != "icat":
                return Begun(HeadConfig.from_dict(state["config"]), folded(floats), history)
            joint = IcatConfig.from_dict(state["config"])
            options = state["options"]
            top = min(options["quality_range"][1], joint.levels) if options["step"] == 2 else None
            return _of_joint(joint, floats, history, top, init, UNEXPORTED)
        if path.suffix == ".safetensors":
            read, tensors = weights.read_head(path, None)
            floats = {k: v.float() for k, v in tensors.items()}
            return Begun(HeadConfig.from_dict(read), floats, [])
        entry = weights.find(init)
        if entry.head is not None:
            read, tensors = weights.read_head(None, entry)
            floats = {k: v.float() for k, v in tensors.items()}
            return Begun(HeadConfig.from_dict(read), floats, list(entry.head.history))
        read, tensors = weights.read(entry)
        config, floats = config_from(read), weights.floats(tensors)
        if isinstance(config, IcatConfig):
            top = (entry.qualities or (1.0, 1.0))[1]
            fingerprint = entry.fingerprint.hex()
            return _of_joint(config, floats, list(entry.history), top, init, fingerprint)
    except (KeyError, ValueError, RuntimeError) as error:
        raise BadInputError(f"{init}: not a classifier of this version: {error}") from error
    raise UsageError(f"the weights {init} have no classifier to begin from")


def _of_joint(
    config: IcatConfig,
    floats: Weights,
    history: list[dict[str, Any]],
    top: float | None,
    name: str,
    fingerprint: str,
) -> Begun:
    """The classifier inside a joint model, see `Begun`."""
    network = build(config)
    network.load_state_dict(floats)
    own = {k.removeprefix("vit."): v for k, v in floats.items() if k.startswith("vit.")}
    head = HeadConfig("latents", config.M, config.vit, config.labels, name, fingerprint)
    return Begun(head, own, history, network, top)
