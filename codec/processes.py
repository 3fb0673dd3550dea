"""What worker processes have in common: Ctrl-C, threads, the cores there are."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process
from multiprocessing.process import BaseProcess

#: Seconds that a worker has to unwind when the process that started it is gone.
GRACE = 5.0


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def without_ctrl_c() -> Iterator[None]:
    """Ctrl-C waits; processes started here never hear of it, which is for their starter to do."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_worker(threads: int | None) -> None:
    """Begin a worker process: its threads, and an end that unwinds when it is told to end.

    It is told by its starter, or by that one's death: a killed process leaves no workers behind.

    Args:
        threads: torch's; None for a worker that needs no torch, which takes seconds to import.
    """

    def end(*_: object) -> None:
        sys.exit(128 + signal.SIGTERM)  # unwinds: programs are ended, temporary files removed

    def end_with(starter: BaseProcess) -> None:
        starter.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)  # waiting for a task that never comes does not always unwind
        os._exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    if starter := parent_process():
        threading.Thread(target=end_with, args=(starter,), daemon=True).start()
    if threads is None:
        return
    import torch  # takes seconds, in which the starter may end too

    torch.set_num_threads(threads)
