"""The C extension of the exact path: where it is found, and the switch that turns it off.

It is optional. Without a compiler the package installs and runs without it, more slowly and with
the same results. `TICODEC_NATIVE=0` in the environment turns it off.

    rans_*.c      symbols to streams and back          rans.h has what they promise
    layers.c      layers on integers                   for three sets of instructions
    wavefront.c   symbols of all latents, step by step
    hyper.c       h_s: hyper latents to features
    team.c        threads that wait for each other
    module*.c     the same as functions of Python, which check their arguments
"""

from __future__ import annotations

import importlib
import os
from functools import cache
from types import ModuleType

#: Of the functions in the extension. One that was built from other sources is not used.
API = 2


@cache
def module() -> ModuleType | None:
    """The extension; None where it is turned off, missing, of another version, or does not load."""
    if os.environ.get("TICODEC_NATIVE") == "0":
        return None
    try:
        found = importlib.import_module(f"{__name__}._exact")
    except (ImportError, OSError):
        return None
    return found if getattr(found, "API", None) == API else None


def active() -> bool:
    """Whether the extension is used in this process."""
    return module() is not None
