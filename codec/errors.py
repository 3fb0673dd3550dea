"""Errors a user can cause. The CLI prints their one line and exits with `exit_code`."""

from __future__ import annotations


class TicodecError(Exception):
    """Something failed that is nobody's input: disk full, folder not writable (exit code 1)."""

    exit_code = 1


class UsageError(TicodecError):
    """The request itself cannot be met: quality out of range, output exists (exit code 2)."""

    exit_code = 2


class BadInputError(TicodecError):
    """The input is unreadable, damaged, too large or made by other weights (exit code 3)."""

    exit_code = 3


class Interrupted(TicodecError):
    """Stopped by Ctrl-C, with something to say about what is kept (exit code 130)."""

    exit_code = 130
