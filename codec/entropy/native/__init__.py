"""The C extension of the exact path.

It is optional. Without it PyTorch and Python do its work, more slowly and with the same results.

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

from functools import cache
from types import ModuleType

from ticodec.extension import load

#: The version of the extension's functions.
API = 5
#: What it must have.
NAMES: tuple[str, ...] = ("tables", "writer", "write", "finish", "reader", "read")
NAMES += ("network", "wavefront", "hyper", "synthesis", "run", "disband", "INSTRUCTIONS")


@cache
def module() -> ModuleType | None:
    """The extension, or None, see `ticodec.extension.load`."""
    return load(f"{__name__}._exact", API, NAMES)


def active() -> bool:
    """Whether the extension is used in this process."""
    return module() is not None
