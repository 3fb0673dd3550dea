"""Packages that not every installation has: the extras of `pyproject.toml`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from .errors import UsageError


@contextmanager
def of_extra(extra: str, user: str) -> Iterator[None]:
    """Let imports in this block fail with one line that says what to install.

    Args:
        extra: that has the packages.
        user: who needs them, the line's subject: "a Parquet table".

    Raises UsageError in place of ImportError.
    """
    try:
        yield
    except ImportError as error:
        raise UsageError(_line(extra, user, f"{error}")) from error


def check_extra(extra: str, user: str, *modules: str) -> None:
    """Find out whether these modules of an extra are installed, without importing them.

    For long work that would fail at its end. Raises UsageError when one is missing.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise UsageError(_line(extra, user, f"no {', '.join(missing)}"))


def _line(extra: str, user: str, why: str) -> str:
    return f"{user} needs packages that are not installed: pip install 'ticodec[{extra}]' ({why})"
