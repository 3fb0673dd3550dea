"""Threads that share a job of the extension. They take its pieces from a counter."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray


def share(job: Callable[[NDArray[np.int64]], None]) -> None:
    """Calls `job` on as many threads as torch uses. The calling thread is one of them.

    Args:
        job: its argument is a counter of the pieces that have been taken, (1,). It takes pieces,
            and returns when no piece is left.

    Raises the exceptions of the job.
    """
    taken = np.zeros(1, np.int64)
    others = torch.get_num_threads() - 1
    helpers = []
    # The system may have no more threads, and Python starts no threads while it shuts down. Then
    # fewer threads do the work.
    with suppress(RuntimeError):
        for _ in range(others):
            helpers.append(_pool(others).submit(job, taken))
    try:
        job(taken)
    finally:
        for helper in helpers:
            helper.result()


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="ticodec")


if hasattr(os, "register_at_fork"):  # a forked process has none of the threads
    os.register_at_fork(after_in_child=_pool.cache_clear)
