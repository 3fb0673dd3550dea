"""The first layer of a classifier of latents while it learns: it sees every channel alike.

A few channels of a codec's latents hold the brightness and colours and are a hundred times as
strong as those of the details that labels depend on. Learned as they are, the weights of the
faint ones would have to become large, which takes an optimiser long.

latents ─► − mean ÷ std, channel by channel ─► Linear        in training
latents ─────────────────────────────────────► Linear        in the file: folded into its weights
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from .parameters import FIRST, STANDARD

#: Channels that hardly ever differ from zero are not made louder than this allows.
LEAST = 1e-3


class StandardLinear(nn.Linear):
    """A Linear behind the standardisation of its inputs; at first that does nothing.

    Args:
        inputs, outputs: channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("std", torch.ones(inputs))

    @torch.no_grad()
    def fit(self, mean: Tensor, std: Tensor, same: bool) -> None:
        """Standardise by these (inputs,), on the CPU or the device.

        `same` keeps what the layer computes, as weights that are trained need it; the others
        stay random, as large as they are.
        """
        std = std.clamp(min=LEAST)
        if same:
            self.bias.add_(linear(mean - self.mean, self.weight / self.std))
            self.weight.mul_(std / self.std)
        self.mean.copy_(mean)
        self.std.copy_(std)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *others: Any) -> None:
        """Weights without standardisation, as files have them, mean none."""
        for name, empty in (("mean", torch.zeros_like), ("std", torch.ones_like)):
            state.setdefault(prefix + name, empty(getattr(self, name)))
        super()._load_from_state_dict(state, prefix, *others)

    def forward(self, x: Tensor) -> Tensor:
        """(…, inputs), float32, to (…, outputs)."""
        return super().forward(self.standardised(x))

    def standardised(self, x: Tensor) -> Tensor:
        """(…, inputs) with a mean of about 0 and a spread of about 1 in each channel."""
        return (x - self.mean) / self.std


def folded(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A classifier's weights as its file has them: no standardisation, the same outputs."""
    mean, std = (weights.get(name) for name in STANDARD)
    if mean is None or std is None:
        return weights
    rest = {name: value for name, value in weights.items() if name not in STANDARD}
    weight = rest[f"{FIRST}weight"] / std
    bias = rest[f"{FIRST}bias"] - linear(mean, weight)
    return rest | {f"{FIRST}weight": weight, f"{FIRST}bias": bias}
