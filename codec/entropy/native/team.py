"""Python threads that work together on one job of the extension. They wait for each other in C."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

#: With more threads than this, a thread waits for the others longer than it works.
MOST_THREADS = 8


def run_team(module: ModuleType, job_of: Callable[[int], Any]) -> None:
    """Runs a job on as many threads as torch uses, but on at most MOST_THREADS.

    The calling thread is one of them.

    Args:
        module: the extension.
        job_of: makes the job. Its argument is the number of threads.

    Raises the exceptions of the job and of the other threads, and KeyboardInterrupt.
    """
    job: Any = None
    begin = threading.Event()
    failures: list[Exception] = []

    def help_out(number: int) -> None:
        try:
            begin.wait()
            if job is not None:
                module.run(job, number)
        except Exception as error:  # for example MemoryError
            failures.append(error)
            if job is not None:
                module.disband(job)  # so that no thread waits for this one

    others: list[threading.Thread] = []
    try:
        for number in range(1, min(torch.get_num_threads(), MOST_THREADS)):
            thread = threading.Thread(target=help_out, args=(number,), daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no more threads, so fewer do the work
                break
            others.append(thread)
        job = job_of(1 + len(others))
        begin.set()
        if failures or not module.run(job, 0):
            raise failures[0]
    finally:
        begin.set()
        if job is not None:
            # If Ctrl-C came before `run`, the others must not wait for this thread.
            module.disband(job)
        for thread in others:
            thread.join()
