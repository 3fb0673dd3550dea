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
    """Call `job` on as many threads as torch uses; this is one of them.

    Args:
        job: takes the counter of pieces that have been taken, (1,), and returns when none is left.

    Raises what the job raises.
    """
    taken = np.zeros(1, np.int64)
    others = torch.get_num_threads() - 1
    helpers = []
    # The system may have no more threads, and Python starts none as it ends: fewer do the work.
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
