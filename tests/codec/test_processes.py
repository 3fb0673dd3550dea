"""Workers end when they are told to, whatever they wait for."""

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


EARLY = """if True:
    import os, signal, sys
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context
    from ticodec import processes

    class Told:
        def find_spec(self, name, *_):
            if name == "torch":
                os.kill(os.getpid(), signal.SIGTERM)

    def start():
        sys.meta_path.insert(0, Told())
        processes.start_worker(1)

    with ProcessPoolExecutor(1, get_context("fork"), start) as pool:
        print(type(pool.submit(print).exception()).__name__, flush=True)
"""


def test_a_worker_that_is_told_to_end_while_it_starts_is_silent() -> None:
    """If `start_worker` ended by an exception, the pool would print a traceback."""
    done = subprocess.run([sys.executable, "-c", EARLY], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("BrokenProcessPool\n", "")


def test_a_worker_that_cannot_unwind_still_ends() -> None:
    """Such a worker may wait for a lock which a killed worker held."""
    script = STUCK.format(end="os.kill(os.getpid(), signal.SIGTERM)")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=120)
    assert done.stdout.split() == [b"started"]
    assert done.returncode == 143, done.stderr
