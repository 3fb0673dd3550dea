"""Workers end when they are told to, whatever they are waiting for."""

from __future__ import annotations

import subprocess
import sys

STUCK = """if True:
    import atexit, os, signal, time
    from ticodec import processes
    processes.GRACE = 0.2
    processes.start_worker(1)
    atexit.register(time.sleep, 600)
    print("started", flush=True)
    {end}
    time.sleep(600)
"""


def test_a_worker_that_cannot_unwind_ends_all_the_same() -> None:
    """As one does that waits for a lock which a killed worker held."""
    script = STUCK.format(end="os.kill(os.getpid(), signal.SIGTERM)")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=120)
    assert done.stdout.split() == [b"started"]
    assert done.returncode == 143, done.stderr
