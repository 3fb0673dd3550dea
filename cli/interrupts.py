"""What Ctrl-C does: while a command runs, it raises KeyboardInterrupt.

Before and after that, it ends the process at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Any, NoReturn

#: The exit code of a command that Ctrl-C has ended.
INTERRUPTED = 130


def end_at_once() -> None:
    """From now on Ctrl-C ends the process at once, with one line on stderr.

    This is for imports, where a KeyboardInterrupt may be lost or give a traceback, and for the last
    moments of a process.
    """
    _answer(_end)


def raise_error() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt, as usual in Python."""
    _answer(signal.default_int_handler)


def _answer(handler: Any) -> None:
    # A shell makes commands in the background ignore Ctrl-C. That handler stays.
    if signal.getsignal(signal.SIGINT) in (_end, signal.default_int_handler):
        with contextlib.suppress(ValueError):  # only the main thread may set handlers
            signal.signal(signal.SIGINT, handler)


def _end(number: int, frame: object) -> NoReturn:
    with contextlib.suppress(OSError):
        os.write(2, b"ticodec: interrupted\n")
    os._exit(INTERRUPTED)
