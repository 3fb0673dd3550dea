"""The C extensions of the package: how one is loaded, and the switch that turns them off.

They are optional. Without a compiler the package installs and runs without them, more slowly.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from types import ModuleType


def turned_off() -> bool:
    """Whether the environment says not to use them: TICODEC_NATIVE=0."""
    return os.environ.get("TICODEC_NATIVE") == "0"


def load(name: str, api: int, names: Iterable[str]) -> ModuleType | None:
    """An extension; None where it is turned off, missing, of another version, or does not load.

    Args:
        name: of the module. api: its version; an extension with another number was built from other
            sources. names: what it must have.
    """
    if turned_off():
        return None
    try:
        found = importlib.import_module(name)
    except Exception:  # whatever a foreign or damaged file does when it is loaded
        return None
    complete = all(hasattr(found, wanted) for wanted in names)
    return found if complete and getattr(found, "API", None) == api else None
