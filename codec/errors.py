"""Errors a user can cause. The CLI prints their one line and exits with `exit_code`.

Messages write the name of a Python argument in backticks: "leave `quality` out". The command line
replaces it with the flag (`cli/flags.py`). No message of the library names a flag.
"""

from __future__ import annotations


class TicodecError(Exception):
    """Something failed that is not the input's fault: disk full, folder read-only (exit code 1)."""

    exit_code = 1


class UsageError(TicodecError, ValueError):
    """The request itself cannot be met: quality out of range, output exists (exit code 2)."""

    exit_code = 2


class BadInputError(TicodecError, ValueError):
    """The input is unreadable, damaged, too large or made by other weights (exit code 3)."""

    exit_code = 3


class Interrupted(TicodecError):
    """Stopped by Ctrl-C; the message says what is kept (exit code 130)."""

    exit_code = 130


#: How torch says that memory is short: on a GPU, on Windows, elsewhere.
_SHORT = ("out of memory", "not enough memory", "can't allocate memory")


def is_memory_short(error: BaseException) -> bool:
    """Whether this says that memory was too short, in Python's words or in torch's."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _SHORT)
