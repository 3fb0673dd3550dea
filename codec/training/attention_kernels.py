"""Triton's attention kernels of a network, compiled beside its training's start.

Triton compiles a kernel when it first runs: one after the other, for each kind of layer. Here every
kind has a process, which leaves the kernel in Triton's cache on the disk. The process that trains
finds it there, or compiles it itself: it waits for no other, and no failure of theirs does harm.
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
    """What a kernel is compiled for.

    Args:
        window: side of a window in tokens; shift: 0, or half of it.
        heads: attention heads; channels: of one of them.
    """

    window: int
    shift: int
    heads: int
    channels: int


def kinds(network: nn.Module) -> list[Kind]:
    """The kinds of window attention in a network, each once."""
    layers = [module for module in network.modules() if isinstance(module, SwinLayer)]
    each = (
        Kind(layer.window, layer.shift, layer.heads, layer.proj.in_features // layer.heads)
        for layer in layers
    )
    return list(dict.fromkeys(each))


def compile_all(network: nn.Module, device: torch.device, dtype: torch.dtype) -> list[BaseProcess]:
    """Start a process for every kind in a network, on a GPU; they end by themselves.

    Args:
        dtype: of the maps that attention sees in training.
    """
    if device.type != "cuda":
        return []
    # Spawned: a GPU's context does not work in a forked process.
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
    """Do this in a process of its own; nobody hears of it when it fails."""
    with contextlib.suppress(Exception):
        silence = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):  # Triton's compiler writes there too
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
