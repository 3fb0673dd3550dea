"""The C extension of the exact path: where it is found, and the switch that turns it off.

It is optional. Without a compiler the package installs and runs without it, more slowly and with
the same results. `TICODEC_NATIVE=0` in the environment turns it off.

    Python               checks arguments        does the work
    ../rans_native.py ─► module_rans.c      ─► rans_*.c      symbols to a stream and back
    wavefront.py      ─► module_wavefront.c ─► wavefront.c   symbols of all latents, step by step
    hyper.py          ─► module_hyper.c     ─► hyper.c       h_s: hyper latents to features,
                                                           but for the last layer

wavefront.c codes its symbols by rans_*.c. wavefront.c and hyper.c compute with layers.c: layers on
integers, with kernels for several instruction sets. INSTRUCTIONS of the module names those of this
processor, the best one first. Threads wait for each other in team.c. pack.py brings weights into
the form that layers.c reads; team.py starts the threads. Each .h file says what its .c file
promises.
"""

from __future__ import annotations

import importlib
import os
from functools import cache
from types import ModuleType

#: The version of the extension's functions. An extension with another number was built from other
#: sources, and is not used.
API = 5
#: What it must have.
NAMES: tuple[str, ...] = ("tables", "writer", "write", "finish", "reader", "read")
NAMES += ("network", "wavefront", "hyper", "synthesis", "run", "disband", "INSTRUCTIONS")


@cache
def module() -> ModuleType | None:
    """The extension; None where it is turned off, missing, of another version, or does not load."""
    if turned_off():
        return None
    try:
        found = importlib.import_module(f"{__name__}._exact")
    except Exception:  # whatever a foreign or damaged file does when it is loaded
        return None
    complete = all(hasattr(found, name) for name in NAMES)
    return found if complete and getattr(found, "API", None) == API else None


def turned_off() -> bool:
    """Whether the environment says not to use the extension."""
    return os.environ.get("TICODEC_NATIVE") == "0"


def active() -> bool:
    """Whether the extension is used in this process."""
    return module() is not None
