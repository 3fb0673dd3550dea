"""The packages of the extra `evaluate`, which only measuring needs."""

from __future__ import annotations

from contextlib import AbstractContextManager

from ticodec.extras import check_extra, of_extra

EXTRA, USER = "evaluate", "evaluation"
MODULES = ("bjontegaard", "jinja2", "matplotlib", "pytorch_msssim")


def evaluation_packages() -> AbstractContextManager[None]:
    """A context for imports of `MODULES`. It raises UsageError when one is missing."""
    return of_extra(EXTRA, USER)


def check_evaluation_packages() -> None:
    """Raises UsageError when one of `MODULES` is missing. Imports none of them."""
    check_extra(EXTRA, USER, *MODULES)
