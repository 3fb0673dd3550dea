"""The engine of one machine: one process per core, each with the network loaded.

                 ┌─ pipe ─► process: Worker ─┐
    items ─► here├─ pipe ─► process: Worker ─┤─► rows, as they are done
                 └─ pipe ─► process: Worker ─┘

Each worker has its own pipe and shares no lock with the others. When one worker is killed, the
others go on, and this process knows which items the dead worker had. (The pools of
concurrent.futures and pebble share a queue. The former gives up when a worker dies. The latter can
wait for ever for a lock that the dead worker held.)
"""

from __future__ import annotations

import contextlib
import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

from ticodec.errors import TicodecError, is_memory_short
from ticodec.files import reason
from ticodec.processes import start_worker, without_ctrl_c

from .messages import Item, Job, Row
from .parts import GO, Ask, Parts

if TYPE_CHECKING:
    from .worker import Worker

#: How many items a worker gets at once, so that small photos can be coded together.
CHUNK = 16
#: The run fails after this many workers in a row died while they were starting.
DEATHS = 3
#: Seconds that workers get to end before they are killed.
PATIENCE = 3.0


class Process:
    """One worker process, and the items that it was given."""

    def __init__(self, job: Job) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(other, job), daemon=True)
        try:
            self.process.start()
        except OSError as error:
            raise TicodecError(
                f"cannot start a worker: {reason(error)}; try fewer `jobs`"
            ) from error
        other.close()  # so that the pipe closes when the worker dies
        self.items: dict[str, Item] = {}
        self.begun = False

    def give(self, items: list[Item]) -> None:
        """Send items to the worker. If it is dead, `take` raises EOFError later."""
        self.items |= {item.name: item for item in items}
        with contextlib.suppress(OSError):
            self.pipe.send(items)

    def go(self) -> None:
        """Tell the worker that it has the parts that it asked for."""
        with contextlib.suppress(OSError):
            self.pipe.send(GO)

    def take(self) -> Iterator[Row | Ask]:
        """Receive a message of the worker: yields a row, a request for parts, or nothing.

        Nothing is yielded for the message that the worker has started.

        Raises TicodecError when the worker cannot start, EOFError when it has died.
        """
        try:
            message = self.pipe.recv()
        except OSError as error:
            raise EOFError from error
        if isinstance(message, TicodecError):
            raise message
        self.begun = True
        if isinstance(message, Row):
            self.items.pop(message.file, None)
        if isinstance(message, Row | Ask):
            yield message

    def how_it_died(self) -> str:
        """How the process ended, in words."""
        code = self.process.exitcode or 0
        return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


class LocalEngine:
    """Runs items in processes of this machine.

    Args:
        jobs: how many processes.
    """

    def __init__(self, job: Job, jobs: int) -> None:
        self.job, self.jobs = job, jobs
        self.waiting: deque[Item] = deque()
        self.again: deque[Item] = deque()
        self.workers: list[Process] = []
        self.parts: Parts[Process] = Parts(jobs)
        self.deaths = 0

    def run(self, items: Iterable[Item]) -> Iterator[Row]:
        """Do all items and yield a row for each. Closing the iterator ends the processes.

        Raises TicodecError when workers cannot start.
        """
        self.waiting.extend(items)
        try:
            while self.waiting or self.again or self.current():
                self._give()
                pipes = [worker.pipe for worker in self.workers]
                for pipe in wait(pipes):
                    worker = next(worker for worker in self.workers if worker.pipe is pipe)
                    try:
                        for message in worker.take():
                            if isinstance(message, Ask):
                                self.parts.ask(worker, message.parts)
                            else:
                                yield message
                        self.deaths = 0
                    except EOFError:
                        yield from self._died(worker)
                    if not worker.items:
                        self.parts.leave(worker)
                    for ready in self.parts.granted():
                        ready.go()
        finally:
            self.close()

    def current(self) -> list[str]:
        """Names of the files that workers are working on, or will begin next."""
        # The lists are copied because a display calls this from its own thread.
        begun = (list(worker.items) for worker in list(self.workers))
        return [names[0] for names in begun if names]

    def stop(self) -> Iterator[Row]:
        """Begin no further item. Returns rows of the items that are left."""
        left = [*self.waiting, *self.again]
        self.waiting.clear()
        self.again.clear()
        return map(Row.left, left)

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        with without_ctrl_c():  # a second Ctrl-C would leave some of them running
            for worker in self.workers:
                worker.process.terminate()
                worker.pipe.close()
            for worker in self.workers:
                worker.process.join(PATIENCE)
                worker.process.kill()
                worker.process.join()
            self.workers.clear()

    def _start(self) -> Process:
        """Start a worker."""
        with without_ctrl_c():  # it could come when the worker runs but is not in the list yet
            worker = Process(self.job)
            self.workers.append(worker)
        return worker

    def _give(self) -> None:
        """Give items to every idle worker, and start workers while there are items for more."""
        wanted = min(self.jobs, len(self.waiting))
        idle = [worker for worker in self.workers if not worker.items]
        if self.waiting:
            while len(self.workers) < self.jobs and len(idle) < wanted:
                idle.append(self._start())
            for worker in idle:
                if not self.parts.free():
                    break
                # Shares get smaller towards the end, so that workers end at about the same time.
                count = max(1, min(CHUNK, len(self.waiting) // (2 * self.jobs)))
                share = [self.waiting.popleft() for _ in range(min(count, len(self.waiting)))]
                if share:
                    self.parts.take(worker)
                    worker.give(share)
        elif self.again and not self.current():
            # An item with which a worker died is tried alone. It has all memory, and cannot make
            # other items fail.
            if not self.workers:
                self._start()
            self.parts.take(self.workers[0])
            self.workers[0].give([self.again.popleft()])

    def _died(self, worker: Process) -> Iterator[Row]:
        """Handle the death of a worker: try its items once more.

        Yields a failed row for each item that has already had its second try.
        """
        self.workers.remove(worker)
        self.parts.leave(worker)
        worker.pipe.close()
        worker.process.join()
        if not worker.begun:  # it had not touched its items, so this does not count as a try
            self.deaths += 1
            for item in reversed(worker.items.values()):
                (self.again if item.retry else self.waiting).appendleft(item)
            worker.items.clear()
        if self.deaths >= DEATHS:
            raise TicodecError(
                f"worker processes die as they start ({worker.how_it_died()}), perhaps for lack "
                "of memory; try fewer `jobs`. Files that are done are kept"
            )
        for item in worker.items.values():
            if item.retry:
                error = f"a worker process died twice with this file: {worker.how_it_died()}"
                yield Row.of(item, "failed", error=error)
            else:
                self.again.append(replace(item, retry=True))


class Here:
    """An engine that works in this process, for places that no other process sees (memory://)."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.waiting: deque[Item] = deque()

    def run(self, items: Iterable[Item]) -> Iterator[Row]:
        """As `LocalEngine.run`."""
        from .worker import Worker

        self.waiting.extend(items)
        worker = Worker(self.job)
        while self.waiting:
            count = min(CHUNK, len(self.waiting))
            yield from worker.run([self.waiting.popleft() for _ in range(count)])

    def current(self) -> list[str]:
        """Returns an empty list, because no display runs while this process works."""
        return []

    def stop(self) -> Iterator[Row]:
        """As `LocalEngine.stop`."""
        left = list(self.waiting)
        self.waiting.clear()
        return map(Row.left, left)


def _serve(pipe: Connection, job: Job) -> None:
    """Run a worker process: receive items and send rows until the pipe is closed."""
    with contextlib.suppress(OSError):  # if memory runs out, Linux should kill workers first
        Path("/proc/self/oom_score_adj").write_text("500")
    with contextlib.suppress(EOFError, ConnectionError):  # the run is over
        worker = _begin(pipe, job)
        while worker is not None:
            for row in worker.run(pipe.recv()):
                pipe.send(row)


def _begin(pipe: Connection, job: Job) -> Worker | None:
    """Make the worker and report over the pipe that it has started.

    Returns None if it cannot start. The error is sent over the pipe.
    """

    def ask(parts: int) -> None:
        pipe.send(Ask(parts))
        pipe.recv()

    try:
        start_worker(job.threads)
        from .worker import Worker

        worker = Worker(job, ask)
    except TicodecError as error:
        pipe.send(error)
        return None
    except Exception as error:
        short = is_memory_short(error)
        why = "not enough memory" if short else f"{type(error).__name__}: {error}"
        pipe.send(TicodecError(f"a worker process cannot start: {why}"))
        return None
    pipe.send("begun")
    return worker
