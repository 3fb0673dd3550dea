"""Chooses the device that networks run on."""

from __future__ import annotations

import os

import torch

from .errors import UsageError
from .inputs import check_device


def pick_device(name: str) -> torch.device:
    """Find the device of a name: "auto", "cpu", "cuda" or "cuda:1", which is the second GPU.

    "auto" is the GPU if there is one, and the CPU otherwise.

    Raises UsageError if the device does not exist, or cannot be used in this process.
    """
    check_device(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        if _forked_after_gpu_use():
            raise UsageError(
                "a forked process cannot use a GPU that its parent has used; start processes with "
                "the method spawn, or choose cpu as `device`"
            )
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            raise UsageError("no CUDA device is available; choose cpu as `device`")
        if device.index is not None and device.index >= count:
            raise UsageError(f"there is no device {name}: the last one is cuda:{count - 1}")
    return device


def _forked_after_gpu_use() -> bool:
    """Whether this process was forked from one that had used a GPU."""
    return bool(getattr(torch.cuda, "_is_in_bad_fork", lambda: False)())


def _one_thread() -> None:
    """Let torch use only one thread.

    A forked process does not have the threads of its parent. Torch would wait for them for ever.
    """
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_one_thread)
