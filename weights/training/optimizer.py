"""The optimiser: Adam for everything, or Muon for the matrices and Adam for the rest."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Optimizer:
    """One or two of torch's optimisers that step together at one learning rate.

    Muon (Jordan et al., 2024) takes the weights of the linear layers, its updates scaled to
    the size of Adam's so that both have the same rate. Its five products a matrix are about a fifth
    of a training pass of eight 128² crops.

    Args:
        network: whose parameters are trained; kind: "adam" or "muon"; lr: learning rate.
    """

    def __init__(self, network: nn.Module, kind: str, lr: float) -> None:
        matrices = []
        if kind == "muon":
            matrices = [m.weight for m in network.modules() if isinstance(m, nn.Linear)]
        taken = {id(p) for p in matrices}
        rest = [p for p in network.parameters() if id(p) not in taken]
        self.parts: list[torch.optim.Optimizer] = [torch.optim.Adam(rest, lr=lr, fused=True)]
        if matrices:
            self.parts.append(
                torch.optim.Muon(matrices, lr=lr, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
            )

    @property
    def lr(self) -> float:
        """The learning rate now; setting it sets every part's."""
        return float(self.parts[0].param_groups[0]["lr"])

    @lr.setter
    def lr(self, value: float) -> None:
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = value

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def step(self, sane: Tensor) -> None:
        """Take a step along the gradients; none if not `sane`, a bool () that nobody reads.

        Reading it would make the CPU wait for a GPU in every step. Adam's kernel can skip by
        itself; Muon goes on with its momentum, as if this gradient had been zero.
        """
        for part in self.parts:
            if isinstance(part, torch.optim.Adam):
                part.found_inf, part.grad_scale = (~sane).float(), None  # type: ignore[attr-defined]
            else:
                for group in part.param_groups:
                    for p in group["params"]:
                        p.grad.masked_fill_(~sane, 0)
            part.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """State of each part."""
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        """Inverse of `state_dict`."""
        for part, each in zip(self.parts, state, strict=True):
            part.load_state_dict(each)
