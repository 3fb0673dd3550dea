"""Driving a cluster from a machine that is not in it, through Ray's client (ray://).

Ray Data's own driver must be in the cluster, so the engine moves there, as an actor:

    here: ClientEngine ── items ──► Inside, on the head node ── RayEngine ──► its actors
                       ◄── rows ──
"""

from __future__ import annotations

import pickle
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from ticodec.errors import TicodecError

from .ray_cluster import join, leave, outside
from .ray_engine import RayEngine
from .tasks import Item, Job, Row

#: Rows that are fetched at a time, at most.
FETCH = 1000


def connect(
    job: Job, jobs: int | None, address: str | None, cpus: float, gpus: float
) -> RayEngine | ClientEngine:
    """The engine for a cluster, which is joined. Arguments: as `RayEngine` and `join` have them.

    Raises UsageError without Ray, TicodecError when there is no cluster at the address.
    """
    ours = join(address)
    try:
        made = ClientEngine if outside() else RayEngine
        return made(job, jobs, cpus, gpus, ours)
    except BaseException:
        if ours:
            leave()
        raise


class Inside:
    """A `RayEngine` in the cluster, whose rows are fetched; begun once."""

    def __init__(self, job: Job, jobs: int | None, cpus: float, gpus: float) -> None:
        self.engine = RayEngine(job, jobs, cpus, gpus, ours=False)
        self.rows: queue.Queue[Row | str | None] = queue.Queue()

    def begin(self, items: list[bytes]) -> None:
        """Start to do items (pickles)."""
        found = [pickle.loads(each) for each in items]
        threading.Thread(target=self._run, args=(found,), daemon=True).start()

    def _run(self, items: list[Item]) -> None:
        try:
            for row in self.engine.run(items):
                self.rows.put(row)
        except Exception as error:  # told there, as a line
            self.rows.put(str(error) or type(error).__name__)
        self.rows.put(None)

    def take(self) -> bytes:
        """Pickle of a list: rows when there are any; at the end why it failed, if so, and None."""
        found = [self.rows.get()]
        while found[-1] is not None and len(found) < FETCH and not self.rows.empty():
            found.append(self.rows.get())
        return pickle.dumps(found)

    def stop(self) -> None:
        """Let nothing more be begun."""
        list(self.engine.stop())


class ClientEngine:
    """A `RayEngine`, from outside. Arguments: as that has them."""

    def __init__(self, job: Job, jobs: int | None, cpus: float, gpus: float, ours: bool) -> None:
        import ray

        self.ours = ours
        # The head node: when that is lost, all is. While `take` waits `stop` must get through.
        options = {"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}}
        made = ray.remote(Inside).options(max_concurrency=2, **options)
        self.inside: Any = made.remote(job, jobs, cpus, gpus)

    def run(self, items: Iterable[Item]) -> Iterator[Row]:
        """Do all items; a row for each. Raises TicodecError when the cluster cannot do it."""
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
        except (ray.exceptions.RayError, ConnectionError) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            text = lines[-1][:300] if lines else type(error).__name__
            raise TicodecError(f"Ray cannot do it: {text}") from error
        finally:
            self.close()

    def current(self) -> list[str]:
        """Nothing: Ray's dashboard shows what its actors do."""
        return []

    def stop(self) -> Iterator[Row]:
        """Begin nothing more; rows of what is left come by `run`."""
        self.inside.stop.remote()
        return iter(())

    def close(self) -> None:
        """Leave the cluster, if it was joined for this run: what was begun for it ends."""
        if self.ours:
            leave()
