"""Runs many tasks in worker processes, which end when this process ends."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from ticodec.errors import TicodecError
from ticodec.processes import cores, start_worker, without_ctrl_c

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")


def outcomes(attempt: Callable[[Task], Outcome], tasks: list[Task], jobs: int) -> Iterator[Outcome]:
    """Yields what `attempt` returns for each task, in this process or in `jobs` workers.

    The outcomes of workers come in the order in which they finish.

    Args:
        attempt: a function at the top level of a module. It, the tasks and the outcomes must be
            picklable.

    Raises TicodecError when a worker dies.
    """
    if jobs == 1 or len(tasks) <= 1:
        yield from map(attempt, tasks)
        return
    threads = max(1, cores() // jobs)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, start_worker, (threads,)) as pool:
        waiting = iter(tasks)
        under_way: set[Future[Outcome]] = set()
        try:
            while True:  # give each worker a few tasks only, to limit the memory of outcomes
                with without_ctrl_c():  # the first tasks start the workers
                    for task in islice(waiting, 4 * jobs - len(under_way)):
                        under_way.add(pool.submit(attempt, task))
                if not under_way:
                    return
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        except BrokenProcessPool as error:
            raise TicodecError(
                "a worker process died, perhaps for lack of memory; try fewer `jobs`. What was "
                "measured is kept; run again without `fresh` to go on"
            ) from error
        except BaseException:  # Ctrl-C, a full disk: do not wait for tasks under way
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
            raise
