"""What worker processes have in common: Ctrl-C, threads, the cores there are."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, parent_process, resource_tracker
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess

#: What workers import, and their server once for all of them.
PRELOADED = ["ticodec.batch.work", "ticodec.evaluation.run"]
#: Seconds that a worker has to unwind when the process that started it is gone.
GRACE = 5.0


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def context() -> SpawnContext | ForkServerContext:
    """How workers are started: forked off a server that has imported PyTorch, where that is safe.

    Importing it takes 3 s of a core, and so it takes them once instead of once a worker. Workers
    have the server's environment until `start_worker` gives them ours.
    """
    if sys.platform != "linux":  # on macOS, frameworks of the system do not survive a fork
        return multiprocessing.get_context("spawn")
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(PRELOADED)
    resource_tracker.ensure_running()  # which, at its own start, would let Ctrl-C through again
    name, before = "PYTHONSAFEPATH", os.environ.get("PYTHONSAFEPATH")
    os.environ[name] = "1"  # it shall not import what happens to lie in the current folder
    try:
        with without_ctrl_c():
            forkserver.ensure_running()
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before
    return found


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


def start_worker(threads: int, environment: dict[str, str]) -> None:
    """Begin a worker process: its environment and threads, and an end that unwinds when it is told.

    It is told by its starter, or by that one's death: a killed process leaves no workers behind.
    """
    import torch

    os.environ.clear()
    os.environ.update(environment)

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
    torch.set_num_threads(threads)
