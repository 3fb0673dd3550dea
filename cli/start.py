"""The start of the `ticodec` command: Ctrl-C, or too little memory, while the rest is imported."""

from __future__ import annotations

import os

from .interrupts import end_at_once


def main() -> None:
    """Run the command line, see `app.main`."""
    end_at_once()
    try:
        from .app import main as run

        run()
    except BaseException as error:
        from ticodec.errors import is_memory_short

        code = error.code if isinstance(error, SystemExit) else None
        if code not in (None, 1) or not is_memory_short(error):
            raise
        if code is None:  # nothing is said yet
            os.write(2, b"ticodec: not enough memory to load the libraries\n")
        # Not by `sys.exit`, which could wait for ever for threads of a half imported library.
        os._exit(1)
