"""The engine of one machine: a process a core, each with the network loaded.

                 ┌─ pipe ─► process: Worker ─┐
    items ─► here├─ pipe ─► process: Worker ─┤─► rows, as they are done
                 └─ pipe ─► process: Worker ─┘

Each worker has a pipe of its own and shares no lock with the others. When one is killed, the others
go on, and this process knows which items it had. (The pools of concurrent.futures and pebble share
a queue: the former gives up when a worker dies, the latter can wait for ever for a lock that the
dead one held.)
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
#: The run fails after this many workers in a row that died as they began.
DEATHS = 3
#: Seconds that workers have to end before they are killed.
PATIENCE = 3.0


class Process:
    """One worker process, and the items it has."""

    def __init__(self, job: Job) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process: BaseProcess = context.Process(target=_serve, args=(other, job), daemon=True)
        try:
            self.process.start()
        except OSError as error:
            raise TicodecError(f"cannot start a worker: {reason(error)}; fewer `jobs`?") from error
        other.close()  # so that its death closes the pipe
        self.items: dict[str, Item] = {}
        self.begun = False

    def give(self, items: list[Item]) -> None:
        """Send it items. If it is dead, `take` raises EOFError later."""
        self.items |= {item.name: item for item in items}
        with contextlib.suppress(OSError):
            self.pipe.send(items)

    def go(self) -> None:
        """Tell it that it has the parts that it asked for."""
        with contextlib.suppress(OSError):
            self.pipe.send(GO)

    def take(self) -> Iterator[Row | Ask]:
        """What it sent: a row, a question, or nothing when the message says that it has begun.

        Raises TicodecError when it cannot begin, EOFError when it has died.
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

        Raises TicodecError when workers cannot even begin.
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
        """Names of the files that workers have begun, or are about to."""
        # Copies, since a display calls this from a thread of its own.
        begun = (list(worker.items) for worker in list(self.workers))
        return [names[0] for names in begun if names]

    def stop(self) -> Iterator[Row]:
        """Begin nothing more. Returns rows of the items that are left."""
        left = [*self.waiting, *self.again]
        self.waiting.clear()
        self.again.clear()
        return map(Row.left, left)

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        with without_ctrl_c():  # pressed a second time, it would leave some of them running
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
        with without_ctrl_c():  # it could come when the worker runs and is not in the list yet
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
                # Shares get smaller towards the end, so that all workers end about together.
                count = max(1, min(CHUNK, len(self.waiting) // (2 * self.jobs)))
                share = [self.waiting.popleft() for _ in range(min(count, len(self.waiting)))]
                if share:
                    self.parts.take(worker)
                    worker.give(share)
        elif self.again and not self.current():
            # An item that a worker died with is tried alone: it has all memory, and harms no other.
            if not self.workers:
                self._start()
            self.parts.take(self.workers[0])
            self.workers[0].give([self.again.popleft()])

    def _died(self, worker: Process) -> Iterator[Row]:
        """A worker died: its items are tried once more; those that had this already get a row."""
        self.workers.remove(worker)
        self.parts.leave(worker)
        worker.pipe.close()
        worker.process.join()
        if not worker.begun:  # it had not touched its items, so this does not count as their try
            self.deaths += 1
            for item in reversed(worker.items.values()):
                (self.again if item.retry else self.waiting).appendleft(item)
            worker.items.clear()
        if self.deaths >= DEATHS:
            raise TicodecError(
                f"worker processes die as they begin ({worker.how_it_died()}), perhaps for lack "
                "of memory; try fewer `jobs`. What is done is kept: the same command goes on"
            )
        for item in worker.items.values():
            if item.retry:
                error = f"a worker process died with it twice: {worker.how_it_died()}"
                yield Row.of(item, "failed", error=error)
            else:
                self.again.append(replace(item, retry=True))


class Here:
    """This process as an engine, for places that other processes cannot see (memory://)."""

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
        """An empty list: no display runs while this process works."""
        return []

    def stop(self) -> Iterator[Row]:
        """As `LocalEngine.stop`."""
        left = list(self.waiting)
        self.waiting.clear()
        return map(Row.left, left)


def _serve(pipe: Connection, job: Job) -> None:
    """A worker process: items in, rows out, until the pipe is closed."""
    with contextlib.suppress(OSError):  # if memory runs out, Linux kills workers first
        Path("/proc/self/oom_score_adj").write_text("500")
    with contextlib.suppress(EOFError, ConnectionError):  # the run is over
        worker = _begin(pipe, job)
        while worker is not None:
            for row in worker.run(pipe.recv()):
                pipe.send(row)


def _begin(pipe: Connection, job: Job) -> Worker | None:
    """The worker, after its starter was told that it has begun; None when it cannot begin."""

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
        pipe.send(TicodecError(f"a worker process cannot begin: {why}"))
        return None
    pipe.send("begun")
    return worker
