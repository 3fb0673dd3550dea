"""Compiles a network's Triton attention kernels in other processes while training gets ready.

Triton compiles a kernel when it first runs, which means one kernel after the other, for each kind
of layer. Here each kind has its own process, which leaves the kernel in Triton's cache on disk. The
training process finds the kernel there, or compiles it itself. It never waits for the other
processes, and their failures do no harm.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from typing import NamedTuple

import torch
from torch import nn

from ticodec.models.swin import SwinLayer
from ticodec.processes import start_helper, without_ctrl_c


class Kind(NamedTuple):
    """A kind of window attention, for which a kernel is compiled.

    Args:
        window: side of a window, in tokens.
        shift: 0, or half of `window`.
        heads: number of attention heads.
        channels: channels per head.
    """

    window: int
    shift: int
    heads: int
    channels: int


def kinds(network: nn.Module) -> list[Kind]:
    """The different kinds of window attention in a network."""
    layers = [module for module in network.modules() if isinstance(module, SwinLayer)]
    each = (
        Kind(layer.window, layer.shift, layer.heads, layer.proj.in_features // layer.heads)
        for layer in layers
    )
    return list(dict.fromkeys(each))


def compile_all(network: nn.Module, device: torch.device, dtype: torch.dtype) -> list[BaseProcess]:
    """Start one process for each kind of attention in a network, if the device is a GPU.

    Args:
        network: the network that will be trained.
        device: where it will be trained.
        dtype: the dtype of the input of attention in training.

    Returns:
        The processes. They end by themselves.
    """
    if device.type != "cuda":
        return []
    # The processes are spawned, because the context of a GPU does not work in a forked process.
    context = get_context("spawn")
    started: list[BaseProcess] = []
    with contextlib.suppress(OSError), without_ctrl_c():
        for kind in kinds(network):
            arguments = (compile_kind, kind, str(device), dtype)
            process = context.Process(target=quietly, args=arguments, daemon=True)
            process.start()
            started.append(process)
    return started


def quietly(work: Callable[..., None], *arguments: object) -> None:
    """Do some work in a helper process. Errors and output are suppressed."""
    with contextlib.suppress(Exception):
        silence = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):  # Triton's compiler writes to these file descriptors directly
            os.dup2(silence, stream)
        start_helper()
        work(*arguments)


def compile_kind(kind: Kind, device: str, dtype: torch.dtype) -> None:
    """Run the kernels of one kind, forward and backward, on a map of a few windows."""
    from ticodec.models.attention_gpu import window_attention

    side, tokens = 4 * kind.window, kind.window**2
    width = 3 * kind.heads * kind.channels
    qkv = torch.randn(2, side, side, width, device=device, dtype=dtype, requires_grad=True)
    bias = torch.randn(kind.heads, tokens, tokens, device=device, requires_grad=True)
    window_attention(qkv, bias, kind.window, kind.shift).sum().backward()  # type: ignore[no-untyped-call]
    if qkv.is_cuda:
        torch.cuda.synchronize()
