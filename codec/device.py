"""The device that networks run on."""

from __future__ import annotations

import torch

from .errors import UsageError
from .inputs import check_device


def pick_device(name: str) -> torch.device:
    """The device of a name: "auto" is CUDA when there is one, "cuda:1" the second GPU.

    Raises UsageError when it is not there.
    """
    check_device(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            raise UsageError("no CUDA device is available; choose cpu as `device`")
        if device.index is not None and device.index >= count:
            raise UsageError(f"there is no device {name}: the last one is cuda:{count - 1}")
    return device
