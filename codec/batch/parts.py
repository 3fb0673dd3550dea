"""How workers of one machine share its memory and its cores.

Each worker has one part of the memory and of the cores, which is enough for small photos. One with
a photo that needs more asks for as many parts as that takes, and waits until others have ended what
they were at: it then has their cores too, so that none is idle.

    worker: photo needs 3 parts ─► Ask(3) ─► Parts ─► GO, when 3 are free ─► coded by 3 threads

While a worker waits it has no part. The first to ask is the first to get: nobody waits for ever.
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

#: What a worker that has asked for parts is sent when it has them.
GO = "go"

W = TypeVar("W", bound=Hashable)


@dataclass(frozen=True)
class Ask:
    """A worker's message: it waits until so many parts are its own, and has none until then."""

    parts: int


def divided(job: Job, jobs: int) -> Job:
    """The job of each of so many workers, which share the memory that is free now."""
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
    """How many parts a photo takes that needs so many bytes: all of them, if it needs more."""
    return 1 if job.part is None else max(1, min(job.parts, math.ceil(need / job.part)))


class Parts(Generic[W]):
    """Who has how many of all the parts, and who waits for some."""

    def __init__(self, parts: int) -> None:
        self.parts = parts
        self.held: dict[W, int] = {}
        self.waiting: deque[tuple[W, int]] = deque()

    def free(self) -> int:
        """How many parts can be given away: none while somebody waits."""
        return 0 if self.waiting else self.parts - sum(self.held.values())

    def take(self, worker: W) -> None:
        """One part for a worker that begins."""
        self.held[worker] = 1

    def ask(self, worker: W, parts: int) -> None:
        """A worker gives back what it has, and waits for this."""
        self.leave(worker)
        self.waiting.append((worker, parts))

    def leave(self, worker: W) -> None:
        """A worker has nothing to do, or is dead."""
        self.held.pop(worker, None)
        self.waiting = deque(entry for entry in self.waiting if entry[0] is not worker)

    def granted(self) -> list[W]:
        """Those that have waited and have their parts now."""
        ready = []
        while self.waiting:
            worker, parts = self.waiting[0]
            if sum(self.held.values()) + parts > self.parts:
                break
            self.waiting.popleft()
            self.held[worker] = parts
            ready.append(worker)
        return ready
