"""Errors that a user can cause. Each has a message of one line.

The command line prints the message and exits with `exit_code`. Messages have the names of Python
arguments in backticks: "leave `quality` out". The command line replaces such a name with its flag
(`cli/flags.py`). No message of the library names a flag.
"""

from __future__ import annotations


class TicodecError(Exception):
    """Something failed that the input did not cause: disk full, folder read-only (exit code 1)."""

    exit_code = 1


class UsageError(TicodecError, ValueError):
    """The request is wrong: quality out of range, output exists (exit code 2)."""

    exit_code = 2


class BadInputError(TicodecError, ValueError):
    """The input is unreadable, damaged, too large, or made by other weights (exit code 3)."""

    exit_code = 3


class Interrupted(TicodecError):
    """The user pressed Ctrl-C. The message says what was finished and kept (exit code 130)."""

    exit_code = 130


#: What errors say if there is not enough memory. The first three come from torch: on a GPU, on
#: Windows, on other systems. The others appear when a library or a thread cannot be started.
_SHORT = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "failed to map segment from shared object",
    "can't start new thread",
)
#: The error continues with this if a library cannot be loaded because its disk is mounted "noexec".
_FORBIDDEN = "operation not permitted"


def is_memory_short(error: BaseException) -> bool:
    """Whether an error, or one that caused it, says that there was not enough memory.

    The messages of our own errors do not count, because they can contain any file name.
    """
    found: BaseException | None = error
    while found is not None:
        text = "" if isinstance(found, TicodecError) else str(found).lower()
        is_named = any(words in text for words in _SHORT) and _FORBIDDEN not in text
        if is_named or isinstance(found, MemoryError):
            return True
        found = found.__cause__ or found.__context__
    return False
