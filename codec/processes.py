"""What all worker processes need: handling of Ctrl-C, threads, and the number of cores."""

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

#: How many seconds a worker has to clean up after the process that started it has ended.
GRACE = 5.0


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def without_ctrl_c() -> Iterator[None]:
    """Delay Ctrl-C until the end of the block.

    Processes that are started in the block never receive it. The process that started them ends
    them.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    # Python starts the resource tracker with the first worker. Python 3.11 then unblocks Ctrl-C, so
    # the tracker is started before Ctrl-C is blocked.
    resource_tracker.ensure_running()
    pressed = False

    def hold(*_: object) -> None:
        nonlocal pressed
        pressed = True

    # Child processes inherit the mask. In this process the mask is not enough: another thread could
    # get the signal, and Python would pass it on to the main thread. So there is a handler too.
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
    """Set up a worker process: how many threads it uses, and when it ends.

    It ends on SIGTERM, or when the process that started it ends. So a killed process leaves no
    workers behind. The worker first unwinds its stack, which ends its child programs and removes
    its temporary files. If that takes longer than `GRACE`, it ends at once, because a worker may
    wait for ever for a lock that a killed worker held.
    """

    def give_up() -> None:
        time.sleep(GRACE)
        os._exit(128 + signal.SIGTERM)

    def end(*_: object) -> None:
        # Python or a library may print a traceback of what this interrupts. Nobody should see it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        threading.Thread(target=give_up, daemon=True).start()
        sys.exit(128 + signal.SIGTERM)

    # While this function runs, SIGTERM ends the process at once: there is nothing to clean up yet,
    # and a process pool would print an exception that ends this function.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    when_starter_ends(lambda: os.kill(os.getpid(), signal.SIGTERM))
    import torch  # this takes seconds, and the starter may end meanwhile

    torch.set_num_threads(threads)
    signal.signal(signal.SIGTERM, end)


def start_helper() -> None:
    """Set up a worker process that has nothing to clean up: it ends at once with its starter."""
    when_starter_ends(lambda: os._exit(128 + signal.SIGTERM))


def when_starter_ends(end: Callable[[], None]) -> None:
    """Call `end` in a separate thread after the process that started this one has ended."""

    def watch(starter: BaseProcess) -> None:
        starter.join()
        end()

    if starter := parent_process():
        threading.Thread(target=watch, args=(starter,), daemon=True).start()
