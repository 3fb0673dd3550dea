"""The start of the `ticodec` command.

It handles Ctrl-C, and too little memory, while the rest of the program is imported.
"""

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
        if code is None:  # no message has been printed yet
            os.write(2, b"ticodec: not enough memory to load the libraries\n")
        # `sys.exit` could wait for ever for threads of a library that is only partly imported.
        os._exit(1)
