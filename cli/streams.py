"""Standard input, output and error that are closed, unbuffered, or cannot show all characters."""

from __future__ import annotations

import errno
import io
import os
import sys

from ticodec.files import reason


def prepare_streams() -> None:
    """Make stdout and stderr safe to write to.

    What is written to stdout either arrives whole or raises OSError. Characters that a stream
    cannot show become "?".
    """
    if sys.stdin is None:
        sys.stdin = open(os.open(os.devnull, os.O_WRONLY))  # noqa: PTH123, SIM115
    if sys.stdout is None:  # it is closed: writing to this one fails as well
        sys.stdout = _text_to(os.open(os.devnull, os.O_RDONLY), "utf-8")
    elif isinstance(getattr(sys.stdout, "buffer", None), io.RawIOBase):
        # PYTHONUNBUFFERED is set. On a full disk such a stream writes a part without an error.
        sys.stdout = _text_to(sys.stdout.fileno(), sys.stdout.encoding)
    if sys.stderr is None:
        sys.stderr = _text_to(os.open(os.devnull, os.O_WRONLY), "utf-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def why(error: OSError) -> str:
    """Why a standard stream cannot be read or written, in plain words."""
    return "it is closed" if error.errno == errno.EBADF else reason(error)


def _text_to(handle: int, encoding: str) -> io.TextIOWrapper:
    """A stream to an open file, flushed after each line."""
    return open(handle, "w", buffering=1, encoding=encoding, closefd=False)
