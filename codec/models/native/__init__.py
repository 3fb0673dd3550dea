"""The C extension of the transforms: where it is found.

It is optional. Without a compiler the package installs and runs without it, more slowly: PyTorch
computes the same within rounding. `TICODEC_NATIVE=0` in the environment turns it off, as it does
the extension of the exact path.

    Python       checks arguments    does the work
    layers.py ─► module.c         ─► kernels.c    Swin layers and convolutions on rows of a map

kernels.h says what the kernels promise; kernels_body.h and the files that it includes are compiled
for each instruction set. layers.py brings weights into the form that they read. team.py shares a
job among threads.
"""

from __future__ import annotations

import importlib
import os
from functools import cache
from types import ModuleType

#: The version of the extension's functions. An extension with another number was built from other
#: sources, and is not used.
API = 2


@cache
def module() -> ModuleType | None:
    """The extension; None where it is turned off, missing, of another version, or does not load."""
    if os.environ.get("TICODEC_NATIVE") == "0":
        return None
    try:
        found = importlib.import_module(f"{__name__}._kernels")
    except Exception:  # whatever a foreign or damaged file does when it is loaded
        return None
    return found if getattr(found, "API", None) == API else None


def kernel_set(bf16: bool) -> str | None:
    """The best set of kernels for bf16 or float32 operands; None where there is none."""
    found = module()
    sets = [] if found is None else found.SETS
    return next((name for name, size in sets if size == (2 if bf16 else 4)), None)
