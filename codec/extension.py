"""Loads the package's C extensions, unless an environment variable turns them off.

The extensions are optional. Without a compiler the package installs without them, and is slower.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from types import ModuleType


def turned_off() -> bool:
    """Whether the environment turns the extensions off: TICODEC_NATIVE=0."""
    return os.environ.get("TICODEC_NATIVE") == "0"


def load(name: str, api: int, names: Iterable[str]) -> ModuleType | None:
    """Load an extension.

    Args:
        name: the name of its module.
        api: the version that it must have. An extension of another version was built from other
            sources.
        names: the functions that it must have.

    Returns:
        The module. None if extensions are turned off, or if this one is missing, is of another
        version or does not load.
    """
    if turned_off():
        return None
    try:
        found = importlib.import_module(name)
    except Exception:  # a foreign or damaged file can raise anything when it is loaded
        return None
    complete = all(hasattr(found, wanted) for wanted in names)
    return found if complete and getattr(found, "API", None) == api else None
