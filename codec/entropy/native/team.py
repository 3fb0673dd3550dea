"""Threads of Python that work on one job of the extension. They wait for each other in C."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

#: More threads than this wait for each other longer than they work.
MOST_THREADS = 8


def run_team(module: ModuleType, job_of: Callable[[int], Any]) -> None:
    """Run a job on as many threads as torch has, of which this is one.

    Args:
        module: the extension.
        job_of: makes the job for so many threads.

    Raises what the job raises, and KeyboardInterrupt.
    """
    count = min(torch.get_num_threads(), MOST_THREADS)
    job = job_of(count)
    others = [
        threading.Thread(target=module.run, args=(job, number), daemon=True)
        for number in range(1, count)
    ]
    for thread in others:
        thread.start()
    try:
        module.run(job, 0)
    finally:
        for thread in others:
            thread.join()
