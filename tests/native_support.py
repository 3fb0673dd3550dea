"""What the tests of the C extension share."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time

from ticodec.entropy import native

#: The instruction sets that the extension has for this processor; none where it is not built.
INSTRUCTIONS: tuple[str, ...] = getattr(native.module(), "INSTRUCTIONS", ())


def output_after_ctrl_c(program: str) -> str:
    """What a Python program prints after Ctrl-C, which comes soon after it has said "ready"."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    return process.communicate(timeout=20)[0]
