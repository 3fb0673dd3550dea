"""Drives a cluster from a machine that is not in it, through Ray's client (ray://).

Ray Data's driver must be in the cluster. So the engine moves there, as an actor:

    here: ClientEngine ── items ──► Inside, on the head node ── RayEngine ──► its actors
                       ◄── rows ──
"""

from __future__ import annotations

import contextlib
import pickle
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from ticodec.errors import TicodecError

from .messages import Item, Job, Row
from .ray_cluster import join, leave, named, outside
from .ray_engine import RayEngine, line_of

#: The most rows that are fetched at once.
FETCH = 1000


def connect(
    job: Job, jobs: int | None, address: str | None, cpus: float, gpus: float
) -> RayEngine | ClientEngine:
    """Join a cluster and return its engine. Arguments are those of `RayEngine` and `join`.

    Raises UsageError without Ray, TicodecError when there is no cluster at the address.
    """
    address = named(address)
    ours = join(address)
    grows = address != "local" and jobs is not None
    try:
        engine = ClientEngine if outside() else RayEngine
        return engine(job, jobs, cpus, gpus, ours=ours, grows=grows)
    except BaseException as error:
        if ours:
            leave()
        if isinstance(error, TicodecError) or not isinstance(error, Exception):
            raise
        raise TicodecError(f"the Ray cluster at {address} failed: {line_of(error)}") from error


class Inside:
    """A `RayEngine` in the cluster. Its caller calls `begin` once, then fetches the rows."""

    def __init__(self, job: Job, jobs: int | None, cpus: float, gpus: float, grows: bool) -> None:
        self.arguments: dict[str, Any] = {"job": job, "jobs": jobs, "cpus": cpus, "gpus": gpus}
        self.arguments |= {"ours": False, "grows": grows}
        self.engine: RayEngine | None = None
        self.rows: queue.Queue[Row | str | None] = queue.Queue()

    def begin(self, items: list[bytes]) -> None:
        """Start to do these pickled items."""
        loaded = [pickle.loads(item) for item in items]
        threading.Thread(target=self._run, args=(loaded,), daemon=True).start()

    def _run(self, items: list[Item]) -> None:
        try:
            self.engine = RayEngine(**self.arguments)
            for row in self.engine.run(items):
                self.rows.put(row)
        except TicodecError as error:
            self.rows.put(str(error))
        except Exception as error:
            self.rows.put(f"Ray failed: {line_of(error)}")
        self.rows.put(None)

    def take(self) -> bytes:
        """A pickled list of the rows since the last call. Waits until there is at least one.

        The last element of the last list is None. If the run failed, a string before it says why.
        """
        rows = [self.rows.get()]
        while rows[-1] is not None and len(rows) < FETCH and not self.rows.empty():
            rows.append(self.rows.get())
        return pickle.dumps(rows)

    def stop(self) -> None:
        """Begin no further item."""
        if self.engine:
            list(self.engine.stop())


class ClientEngine:
    """A `RayEngine` that is driven from outside the cluster. It takes the same arguments."""

    def __init__(
        self, job: Job, jobs: int | None, cpus: float, gpus: float, ours: bool, grows: bool
    ) -> None:
        import ray

        self.ours = ours
        # The actor runs on the head node, without which there is no cluster anyway. It takes two
        # calls at once, because `stop` must get through while `take` waits.
        options = {"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}}
        actor = ray.remote(Inside).options(max_concurrency=2, **options)
        self.inside: Any = actor.remote(job, jobs, cpus, gpus, grows)

    def run(self, items: Iterable[Item]) -> Iterator[Row]:
        """Do all items and yield a row for each. Raises TicodecError when the cluster fails."""
        import ray

        try:
            ray.get(self.inside.begin.remote([pickle.dumps(item) for item in items]))
            while True:
                for row in pickle.loads(ray.get(self.inside.take.remote())):
                    if row is None:
                        return
                    if isinstance(row, str):
                        raise TicodecError(row)
                    yield row
        except TicodecError:
            raise
        except Exception as error:  # Ray's client raises many kinds
            raise TicodecError(f"Ray failed: {line_of(error)}") from error
        finally:
            self.close()

    def current(self) -> list[str]:
        """Returns an empty list. Ray's dashboard shows what its actors do."""
        return []

    def stop(self) -> Iterator[Row]:
        """Begin no further item. `run` still yields the rows of the items that are left."""
        with contextlib.suppress(Exception):  # a lost connection is reported by `run`
            self.inside.stop.remote()
        return iter(())

    def close(self) -> None:
        """End the engine in the cluster, and leave the cluster if it was joined for this run."""
        import ray

        if self.ours:
            leave()
        else:
            with contextlib.suppress(Exception):
                ray.kill(self.inside)
