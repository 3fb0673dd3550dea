"""The C extension of the transforms.

It is optional. Without it PyTorch computes the same within rounding, more slowly.

    Python       checks arguments    does the work
    layers.py ─► module.c         ─► kernels.c    Swin layers and convolutions on rows of a map
                 layers.c

kernels.h says what the kernels promise; kernels_body.h and the files that it includes are compiled
for each instruction set. layers.py brings weights into the form that they read, layers.c checks
and copies them. team.py shares a job among threads. gradient.py runs a transform forwards and
backwards.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType

from ticodec.extension import load

#: The version of the extension's functions.
API = 3
#: What it must have.
NAMES = (
    "swin_layer",
    "conv_layer",
    "swin",
    "swin_gradient",
    "conv",
    "activation_gradient",
    "round",
    "SETS",
)


@cache
def module() -> ModuleType | None:
    """The extension, or None, see `ticodec.extension.load`."""
    return load(f"{__name__}._kernels", API, NAMES)


def active() -> bool:
    """Whether the extension is used in this process."""
    return module() is not None


def kernel_set(bf16: bool) -> str | None:
    """The best set of kernels for bf16 or float32 operands; None where there is none."""
    found = module()
    sets = [] if found is None else found.SETS
    return next((name for name, size in sets if size == (2 if bf16 else 4)), None)
