"""The C extension of the transforms.

It is optional. Without it PyTorch computes the same results within rounding, but more slowly.

    Python       checks arguments    does the work
    layers.py ─► module.c         ─► kernels.c    Swin layers and convolutions on rows of a map
                 layers.c

kernels.h documents the kernels. kernels_body.h and the files that it includes are compiled once for
each instruction set. layers.py brings weights into the form that the kernels read. layers.c checks
and copies them. team.py shares a job among threads. gradient.py runs a transform forwards and
backwards.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType

from ticodec.extension import load

#: The version of the extension's functions that this package needs.
API = 3
#: The names that the extension must have.
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
    """The extension, or None if it is not used. See `ticodec.extension.load`."""
    return load(f"{__name__}._kernels", API, NAMES)


def active() -> bool:
    """Whether the extension is used in this process."""
    return module() is not None


def kernel_set(bf16: bool) -> str | None:
    """The name of the fastest set of kernels for bf16 or float32 operands, or None."""
    found = module()
    sets = [] if found is None else found.SETS
    return next((name for name, size in sets if size == (2 if bf16 else 4)), None)
