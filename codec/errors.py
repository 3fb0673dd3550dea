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


#: How errors say that memory is short. Three come from torch: on a GPU, on Windows, elsewhere.
#: The others come when a library cannot be loaded, or a thread cannot be started.
_SHORT = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "failed to map segment from shared object",
    "can't start new thread",
)
#: This follows where a library cannot be loaded since its disk forbids to run anything from it.
_FORBIDDEN = "operation not permitted"


def is_memory_short(error: BaseException) -> bool:
    """Whether an error, or what caused it, says that memory was too short.

    The words of our own errors do not count, since names of files are among them.
    """
    found: BaseException | None = error
    while found is not None:
        text = "" if isinstance(found, TicodecError) else str(found).lower()
        is_named = any(words in text for words in _SHORT) and _FORBIDDEN not in text
        if is_named or isinstance(found, MemoryError):
            return True
        found = found.__cause__ or found.__context__
    return False
