"""The optimiser: Adam for all parameters, or Muon for the matrices and Adam for the rest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ticodec.models.inference import fast_bf16

#: Layers whose weights get weight decay.
DECAYED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
MOMENTUM = 0.95
#: Coefficients of the quintic Newton-Schulz step. Jordan et al. chose them for speed: the singular
#: values come near 1, but do not converge to 1.
QUINTIC = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


class Optimizer:
    """Adam and Muon, which take their steps together and have the same learning rate.

    Args:
        network: its parameters are trained, except frozen ones.
        kind: "adam", or "muon", which uses Muon for the weights of linear layers and Adam for the
            rest.
        lr: learning rate of both.
        decay: weight decay, as in AdamW, for the weights of layers. Biases, norms, embeddings,
            gains and priors have none.
    """

    def __init__(self, network: nn.Module, kind: str, lr: float, decay: float = 0.0) -> None:
        matrices = []
        if kind == "muon":
            linear = [m.weight for m in network.modules() if isinstance(m, nn.Linear)]
            matrices = [weight for weight in linear if weight.requires_grad]
        taken = {id(p) for p in matrices}
        rest = [p for p in network.parameters() if p.requires_grad and id(p) not in taken]
        self.lr = lr
        self.adam: torch.optim.Optimizer = torch.optim.Adam(rest, lr=lr, fused=True)
        if decay:
            kept = {id(m.weight) for m in network.modules() if isinstance(m, DECAYED)}
            groups = [
                {"params": [p for p in rest if id(p) in kept], "weight_decay": decay},
                {"params": [p for p in rest if id(p) not in kept], "weight_decay": 0.0},
            ]
            self.adam = torch.optim.AdamW(groups, lr=lr, fused=True)
        self.muon = Muon(matrices, decay)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.adam.zero_grad(set_to_none=True)
        self.muon.zero_grad()

    def step(self, sane: Tensor) -> None:
        """Take a step along the gradients, if `sane`, a bool tensor (), is true.

        `sane` is never read on the CPU. Otherwise the CPU would wait for a GPU in every step.
        """
        for group in self.adam.param_groups:
            group["lr"] = self.lr
        # torch's gradient scaler sets the same attribute: the fused kernel then skips the step.
        self.adam.found_inf = (~sane).float()  # type: ignore[attr-defined]
        self.adam.grad_scale = None  # type: ignore[attr-defined]
        self.adam.step()
        self.muon.step(self.lr, sane)

    def state_dict(self) -> dict[str, Any]:
        """The state of both optimisers."""
        return {"adam": self.adam.state_dict(), "muon": self.muon.buffers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self.adam.load_state_dict(state["adam"])
        for buffer, saved in zip(self.muon.buffers, state["muon"], strict=True):
            buffer.copy_(saved)


class Muon:
    """Gradient steps with momentum, where the update of each matrix is made orthogonal.

    See Jordan et al., 2024. A test compares it with
    `torch.optim.Muon(adjust_lr_fn="match_rms_adamw", weight_decay=0)`, which computes the same.
    There are two differences. Matrices of one shape are multiplied together: for `tic` a GPU would
    otherwise spend its time on 2,000 tiny kernels. And a step can be skipped by a tensor that the
    CPU does not read.

    Args:
        matrices: parameters of two dimensions. Their updates are about as large as Adam's.
        decay: weight decay, as in AdamW.
    """

    def __init__(self, matrices: Iterable[Tensor], decay: float = 0.0) -> None:
        self.decay = decay
        shapes: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for matrix in matrices:
            shapes[matrix.shape].append(matrix)
        self.groups = list(shapes.values())
        device = self.groups[0][0].device if self.groups else torch.device("cpu")
        # On a CPU without bf16, emulating it took four fifths of the time of a step.
        self.dtype = torch.bfloat16 if fast_bf16(device) else torch.float32
        self.buffers = [torch.zeros_like(torch.stack(group)).detach() for group in self.groups]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for group in self.groups:
            for matrix in group:
                matrix.grad = None

    @torch.no_grad()
    def step(self, lr: float, sane: Tensor) -> None:
        """Update every matrix and its momentum, if `sane`, a bool tensor (), is true."""
        for group, buffer in zip(self.groups, self.buffers, strict=True):
            grad = torch.stack([matrix.grad for matrix in group if matrix.grad is not None])
            grad = torch.where(sane, grad, 0.0)  # (n, rows, columns)
            buffer.lerp_(grad, (1 - MOMENTUM) * sane)
            update = orthogonal(grad.lerp(buffer, MOMENTUM), self.dtype).to(grad.dtype) * sane
            size = 0.2 * max(group[0].shape) ** 0.5
            if self.decay:
                torch._foreach_mul_(group, 1 - lr * self.decay * sane.float())
            torch._foreach_add_(group, list(update.unbind()), alpha=-lr * size)


def orthogonal(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Each matrix of x (n, rows, columns) with its singular values moved near 1.

    `dtype` is the type of the computation and of the result.
    """
    wide = x.shape[1] <= x.shape[2]
    y = (x if wide else x.mT).to(dtype)
    y = y / y.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    a, b, c = QUINTIC
    for _ in range(ITERATIONS):
        gram = y @ y.mT
        y = torch.baddbmm(y, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), y, beta=a)
    return y if wide else y.mT
