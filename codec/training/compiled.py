"""The training pass through torch.compile; on a GPU as CUDA graphs.

A training step is many small kernels. To start them one by one takes a CPU core longer than the
GPU computes; a CUDA graph starts all of them at once, which halved the time of a step on an H200.
Its price: a graph keeps its memory, and every run of it writes there again.
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
    """A training pass, compiled when it first runs.

    Args:
        sizes_vary: whether batches have several sizes, each of which would need its own graphs.
    """
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
        if not sizes_vary:
            return graphed(forward)
    return torch.compile(forward)


def graphed(forward: Pass) -> Pass:
    """A training pass as CUDA graphs, one forward and one backward, for batches of one size.

    Its scalars are copies: they may be kept over the next step, which writes over the graphs' own.
    """
    graphs = torch.compile(forward, dynamic=False, mode="reduce-overhead")

    def run(*batch: Any) -> Scalars:
        torch.compiler.cudagraph_mark_step_begin()  # nothing of the last step is needed any more
        return tuple(scalar.clone() for scalar in graphs(*batch))

    return run
