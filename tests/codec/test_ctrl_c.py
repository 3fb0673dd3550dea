"""Ctrl-C while worker processes are started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from ticodec.processes import without_ctrl_c


def test_ctrl_c_is_delayed_whichever_thread_receives_it() -> None:
    wanted, sent = threading.Event(), threading.Event()

    def send() -> None:  # a thread whose mask does not block the signal
        wanted.wait()
        os.kill(os.getpid(), signal.SIGINT)
        sent.set()

    threading.Thread(target=send).start()
    reached = []
    with pytest.raises(KeyboardInterrupt), without_ctrl_c():
        reached += [wanted.set(), sent.wait(60)]
    assert reached == [None, True]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


FIRST = """
import multiprocessing, time
from pathlib import Path
from ticodec.processes import without_ctrl_c
worker = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
with without_ctrl_c():
    worker.start()
lines = Path(f"/proc/{worker.pid}/status").read_text().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("SigBlk")))
worker.kill()
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc here")  # noqa: PTH110
def test_the_first_worker_never_receives_ctrl_c() -> None:
    """With the first worker Python starts another process. Python 3.11 unblocks Ctrl-C for it."""
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True)
    assert int(done.stdout, 16) & 1 << (signal.SIGINT - 1), done.stderr
