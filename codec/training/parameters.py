"""Weights by the names of their parameters: which ones a new run keeps, drops or resizes."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate

#: Suffixes of the label layer's parameters; prefixes of the gain and aggregation parameters.
LABELS = ("head.weight", "head.bias")
GAINS = "gains."
AGGREGATION = "aggregation."
#: Prefix of a classifier's first layer, which belongs to what the classifier reads.
FIRST = "embed."
#: Prefix of the layer that halves latents; it is fitted anew for the latents of other weights.
HALVE = "halve."
#: Prefix of a joint model's classifier.
VIT = "vit."
#: What a first layer standardises latents by while it learns; folded into it in the exported file.
STANDARD = ("embed.mean", "embed.std")


def is_new(name: str) -> bool:
    """Whether a parameter may be missing from weights that a run begins from."""
    return name.endswith(LABELS) or name.startswith((GAINS, FIRST, HALVE, VIT + HALVE))


def without(floats: dict[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    """Weights without those whose names begin with one of these."""
    return {name: value for name, value in floats.items() if not name.startswith(prefixes)}


def without_labels(floats: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights without the layer that has a row for each label; a new one takes its place."""
    return {name: value for name, value in floats.items() if not name.endswith(LABELS)}


def on_grid(floats: dict[str, Tensor], grid: int) -> dict[str, Tensor]:
    """Weights whose position embeddings (1, g, g, C) are interpolated to (1, grid, grid, C)."""
    name = next((name for name in floats if name.endswith("position")), None)
    if name is None:
        raise ValueError("these weights have no position embeddings")
    learned = floats[name].permute(0, 3, 1, 2)
    if learned.shape[2] == grid:
        return floats
    resized = interpolate(learned, (grid, grid), mode="bicubic", align_corners=False)
    return {**floats, name: resized.permute(0, 2, 3, 1).contiguous()}
