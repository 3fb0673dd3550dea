"""What worker processes have in common: Ctrl-C, threads, the cores there are."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import parent_process, resource_tracker
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
    """Hold Ctrl-C back until the end of the block.

    Processes that are started here never get it: their starter ends them.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    # Python starts this process beside the first worker, and 3.11 then lets Ctrl-C through again.
    resource_tracker.ensure_running()
    pressed = False

    def hold(*_: object) -> None:
        nonlocal pressed
        pressed = True

    # Processes that are started inherit the mask. It alone would not do: another thread could get
    # the signal, and Python would pass it on to the main thread. So there is a handler too.
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.signal(signal.SIGINT, hold) if is_main else None
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if is_main:
            signal.signal(signal.SIGINT, handler)
            if pressed:
                signal.raise_signal(signal.SIGINT)


def start_worker(threads: int) -> None:
    """Set a worker process up: how many threads it uses, and how it ends.

    It ends by SIGTERM, or when its starter dies, so a killed process leaves no workers behind. It
    unwinds first, which ends its programs and removes its temporary files. If that takes longer
    than `GRACE`, it ends anyway: a worker can wait for ever for a lock that a killed one held.
    """

    def give_up() -> None:
        time.sleep(GRACE)
        os._exit(128 + signal.SIGTERM)

    def end(*_: object) -> None:
        # Whatever this interrupts, Python or a library may print a traceback. Nobody should see it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        threading.Thread(target=give_up, daemon=True).start()
        sys.exit(128 + signal.SIGTERM)

    # Until it has started there is nothing to unwind, and a pool prints what ends this function.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    when_starter_ends(lambda: os.kill(os.getpid(), signal.SIGTERM))
    import torch  # takes seconds, in which the starter may end too

    torch.set_num_threads(threads)
    signal.signal(signal.SIGTERM, end)


def start_helper() -> None:
    """Set a worker process up that has nothing to unwind: it ends at once, or with its starter."""
    when_starter_ends(lambda: os._exit(128 + signal.SIGTERM))


def when_starter_ends(end: Callable[[], None]) -> None:
    """Call this, in a thread of its own, when the process that started this one is gone."""

    def watch(starter: BaseProcess) -> None:
        starter.join()
        end()

    if starter := parent_process():
        threading.Thread(target=watch, args=(starter,), daemon=True).start()
