"""Selects weights by the names of their parameters: a new run keeps, drops or resizes them."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate

#: Suffixes of the label layer's parameters.
LABELS = ("head.weight", "head.bias")
#: Prefixes of the gain and aggregation parameters.
GAINS = "gains."
AGGREGATION = "aggregation."
#: Prefix of a classifier's first layer. It fits only the latents (or pixels) it was trained on.
FIRST = "embed."
#: Prefix of the layer that halves latents. It is fitted again for the latents of other weights.
HALVE = "halve."
#: Prefix of a joint model's classifier.
VIT = "vit."
#: The mean and standard deviation with which a first layer standardises latents. Export folds them
#: into the layer's weights.
STANDARD = ("embed.mean", "embed.std")


def is_new(name: str) -> bool:
    """Whether a parameter may be missing in the weights that a run starts from."""
    return name.endswith(LABELS) or name.startswith((GAINS, FIRST, HALVE, VIT + HALVE))


def without(floats: dict[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    """The weights whose names begin with none of the prefixes."""
    return {name: value for name, value in floats.items() if not name.startswith(prefixes)}


def without_labels(floats: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights without the label layer, which has one row for each label."""
    return {name: value for name, value in floats.items() if not name.endswith(LABELS)}


def on_grid(floats: dict[str, Tensor], grid: int) -> dict[str, Tensor]:
    """The weights, with position embeddings (1, g, g, C) interpolated to (1, grid, grid, C)."""
    name = next((name for name in floats if name.endswith("position")), None)
    if name is None:
        raise ValueError("these weights have no position embeddings")
    learned = floats[name].permute(0, 3, 1, 2)
    if learned.shape[2] == grid:
        return floats
    resized = interpolate(learned, (grid, grid), mode="bicubic", align_corners=False)
    return {**floats, name: resized.permute(0, 2, 3, 1).contiguous()}
