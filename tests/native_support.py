"""Helpers of the tests of the C extension."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time

from ticodec.entropy import native

#: The instruction sets of this processor that the extension has code for. Empty if it is not built.
INSTRUCTIONS: tuple[str, ...] = getattr(native.module(), "INSTRUCTIONS", ())


def output_after_ctrl_c(program: str) -> str:
    """Run a Python program, and interrupt it 0.3 s after it prints "ready".

    Returns what it prints after "ready".

    Args:
        program: source code. It may be indented.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=20)[0]
