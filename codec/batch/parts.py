"""How the workers of one machine share its memory and its cores.

Memory and cores are divided into as many parts as there are workers. One part is enough for small
photos. A worker with a photo that needs more asks for several parts, and waits until that many
other workers have finished their work. It then uses their cores too, so that no core is idle.

    worker: photo needs 3 parts ─► Ask(3) ─► Parts ─► GO, when 3 are free ─► 3 threads code it

A worker that waits has no part. The worker that asked first gets its parts first, so that no worker
waits for ever.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from ticodec import memory
from ticodec.processes import cores

from .messages import Job

#: The message to a worker that asked for parts and has them now.
GO = "go"

W = TypeVar("W", bound=Hashable)


@dataclass(frozen=True)
class Ask:
    """A worker's message that it waits until it gets `parts` parts, and has none until then."""

    parts: int


def divided(job: Job, jobs: int) -> Job:
    """The job for each of `jobs` workers, which share the memory that is free now."""
    have = memory.available()
    if have is None:
        return replace(job, threads=max(1, cores() // jobs))
    others = memory.LOADED * (jobs - 1)
    return replace(
        job,
        threads=max(1, cores() // jobs),
        memory=None if job.memory is None else max(1, have - others),
        parts=jobs,
        part=max(1, have // jobs - memory.LOADED),
    )


def parts_for(job: Job, need: float) -> int:
    """The number of parts that a photo takes if it needs `need` bytes: at most all of them."""
    return 1 if job.part is None else max(1, min(job.parts, math.ceil(need / job.part)))


class Parts(Generic[W]):
    """Which worker has how many of the parts, and which workers wait for parts."""

    def __init__(self, parts: int) -> None:
        self.parts = parts
        self.held: dict[W, int] = {}
        self.waiting: deque[tuple[W, int]] = deque()

    def free(self) -> int:
        """The number of parts that can be given away. It is 0 while a worker waits."""
        return 0 if self.waiting else self.parts - sum(self.held.values())

    def take(self, worker: W) -> None:
        """Give one part to a worker that begins."""
        self.held[worker] = 1

    def ask(self, worker: W, parts: int) -> None:
        """Take back a worker's parts and let it wait for `parts` parts."""
        self.leave(worker)
        self.waiting.append((worker, parts))

    def leave(self, worker: W) -> None:
        """Take back the parts of a worker that has nothing to do, or is dead."""
        self.held.pop(worker, None)
        self.waiting = deque(entry for entry in self.waiting if entry[0] is not worker)

    def granted(self) -> list[W]:
        """The workers that waited and get their parts now."""
        ready = []
        while self.waiting:
            worker, parts = self.waiting[0]
            if sum(self.held.values()) + parts > self.parts:
                break
            self.waiting.popleft()
            self.held[worker] = parts
            ready.append(worker)
        return ready
