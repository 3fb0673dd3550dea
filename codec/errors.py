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


#: How torch says that memory is short: on a GPU, on Windows, elsewhere. Then how Linux says that a
#: library cannot be loaded, and Python that a thread cannot be started.
_SHORT = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "failed to map segment from shared object",
    "can't start new thread",
)
#: The same of a library, on a disk from which nothing may be run.
_FORBIDDEN = "operation not permitted"


def is_memory_short(error: BaseException) -> bool:
    """Whether this, or what caused it, says that memory was too short, in whosever words.

    The words of our own errors do not count: they have names of files in them.
    """
    found: BaseException | None = error
    while found is not None:
        text = "" if isinstance(found, TicodecError) else str(found).lower()
        is_named = any(words in text for words in _SHORT) and _FORBIDDEN not in text
        if is_named or isinstance(found, MemoryError):
            return True
        found = found.__cause__ or found.__context__
    return False
