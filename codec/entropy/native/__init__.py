"""The C extension of the exact path.

It is optional. Without it PyTorch and Python do its work, more slowly and with the same results.

    Python               checks arguments        does the work
    ../rans_native.py ─► module_rans.c      ─► rans_*.c      symbols to a stream and back
    wavefront.py      ─► module_wavefront.c ─► wavefront.c   symbols of all latents, step by step
    hyper.py          ─► module_hyper.c     ─► hyper.c       all layers of h_s but the last:
                                                           hyper-latents to features

wavefront.c codes its symbols with rans_*.c. wavefront.c and hyper.c compute with layers.c, which
has layers on integers for several instruction sets. The module's INSTRUCTIONS names the sets that
this processor has, the fastest first. Threads wait for each other in team.c. pack.py brings weights
into the form that layers.c reads. team.py starts the threads. Each .h file documents its .c file.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType

from ticodec.extension import load

#: The version of the extension's functions that this package needs.
API = 5
#: The names that the extension must have.
NAMES: tuple[str, ...] = ("tables", "writer", "write", "finish", "reader", "read")
NAMES += ("network", "wavefront", "hyper", "synthesis", "run", "disband", "INSTRUCTIONS")


@cache
def module() -> ModuleType | None:
    """The extension, or None if it is not used. See `ticodec.extension.load`."""
    return load(f"{__name__}._exact", API, NAMES)


def active() -> bool:
    """Whether the extension is used in this process."""
    return module() is not None
