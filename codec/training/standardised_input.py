"""The first layer of a classifier in training, which standardises each channel of the latents.

A few channels of a codec's latents hold brightness and colours. They are a hundred times as strong
as the channels of the details that labels depend on. Without standardisation the weights of these
faint channels would have to become large, which takes an optimiser a long time.

latents ─► − mean ÷ std, channel by channel ─► Linear        in training
latents ─────────────────────────────────────► Linear        in the file: folded into the weights
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from .parameters import FIRST, STANDARD

#: The least deviation to divide by, so that channels that are nearly always zero are not amplified
#: without limit.
LEAST = 1e-3


class StandardLinear(nn.Linear):
    """A Linear layer that first standardises its inputs. This does nothing before `fit` is called.

    Args:
        inputs: number of input channels.
        outputs: number of output channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("std", torch.ones(inputs))

    @torch.no_grad()
    def fit(self, mean: Tensor, std: Tensor, same: bool) -> None:
        """Set the mean and standard deviation of each input channel, (inputs,).

        Args:
            mean: the means, on the CPU or the device.
            std: the standard deviations, on the CPU or the device.
            same: whether to change the weights so that the outputs stay the same, which trained
                weights need. Random weights should keep their size.
        """
        std = std.clamp(min=LEAST)
        if same:
            self.bias.add_(linear(mean - self.mean, self.weight / self.std))
            self.weight.mul_(std / self.std)
        self.mean.copy_(mean)
        self.std.copy_(std)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *others: Any) -> None:
        """Load weights. If they have no mean and std, as in exported files, these are 0 and 1."""
        for name, empty in (("mean", torch.zeros_like), ("std", torch.ones_like)):
            state.setdefault(prefix + name, empty(getattr(self, name)))
        super()._load_from_state_dict(state, prefix, *others)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (…, outputs) for inputs (…, inputs), float32."""
        return super().forward(self.standardised(x))

    def standardised(self, x: Tensor) -> Tensor:
        """Inputs (…, inputs), with mean about 0 and standard deviation about 1 per channel."""
        return (x - self.mean) / self.std


def folded(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A classifier's weights for its file: without standardisation, but with the same outputs."""
    mean, std = (weights.get(name) for name in STANDARD)
    if mean is None or std is None:
        return weights
    rest = {name: value for name, value in weights.items() if name not in STANDARD}
    weight = rest[f"{FIRST}weight"] / std
    bias = rest[f"{FIRST}bias"] - linear(mean, weight)
    return rest | {f"{FIRST}weight": weight, f"{FIRST}bias": bias}
