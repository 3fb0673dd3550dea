"""The training pass through torch.compile, on a GPU as CUDA graphs.

A training step consists of many small kernels. A CPU core takes longer to start them one by one
than the GPU takes to compute them. A CUDA graph starts all of them at once, which halved the time
of a step on an H200. But a graph keeps its memory, and every run of the graph overwrites it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Scalars = tuple[Tensor, ...]
Pass = Callable[..., Scalars]

#: A CUDA graph is compiled in the first pass, recorded in the second, and run in the third.
PASSES = 3


def compiled(forward: Pass, device: torch.device, sizes_vary: bool = False) -> Pass:
    """A training pass that is compiled when it first runs.

    Args:
        forward: the pass.
        device: where it runs.
        sizes_vary: whether the sizes of batches vary. Then there are no CUDA graphs, because each
            size would need its own.
    """
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
        if not sizes_vary:
            return graphed(forward)
    return torch.compile(forward)


def graphed(forward: Pass) -> Pass:
    """A training pass as CUDA graphs, one forward and one backward, for batches of one size.

    The returned scalars are copies, because the next step overwrites the memory of the graphs.
    """
    graphs = torch.compile(forward, dynamic=False, mode="reduce-overhead")

    def run(*batch: Any) -> Scalars:
        torch.compiler.cudagraph_mark_step_begin()  # outputs of the last step may be overwritten
        return tuple(scalar.clone() for scalar in graphs(*batch))

    return run
