"""Optional packages, which not every installation has: the extras of `pyproject.toml`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from .errors import UsageError


@contextmanager
def of_extra(extra: str, user: str) -> Iterator[None]:
    """If an import in this block fails, raise an error that says what to install.

    Args:
        extra: the extra that has the packages.
        user: what needs the packages, such as "a Parquet table". The message begins with it.

    Raises UsageError in place of ImportError.
    """
    try:
        yield
    except ImportError as error:
        raise UsageError(_line(extra, user, f"{error}")) from error


def check_extra(extra: str, user: str, *modules: str) -> None:
    """Check that these modules of an extra are installed, without importing them.

    Call this before long work that would otherwise fail at its end.

    Raises UsageError if a module is missing.
    """
    missing = [name for name in modules if is_missing(name)]
    if missing:
        raise UsageError(_line(extra, user, f"no {', '.join(missing)}"))


def is_missing(module: str) -> bool:
    """Whether a module is not installed. It is not imported."""
    return find_spec(module) is None


def _line(extra: str, user: str, why: str) -> str:
    return f"{user} needs packages that are not installed: pip install 'ticodec[{extra}]' ({why})"
