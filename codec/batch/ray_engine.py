"""The engine of a cluster: Ray Data drives actors that run the same `Worker` as the local engine.

    items ─► blocks ─► map_batches(Actor) ─► blocks of rows ─► here
                       one actor per CPU (or part of a GPU), on any node, with the network loaded

Ray Data (an extra) decides where actors run, holds back work when they are busy, and moves the work
of lost nodes to others. So a file may be done twice. It is then written twice, with the same bytes.

A share is the list of items that an actor gets in one call.
"""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from ticodec.errors import TicodecError

from .local import CHUNK
from .messages import Item, Job, Row
from .ray_cluster import leave

#: How many times a share, the files that an actor gets at once, is begun. After that each of these
#: files is tried alone, as many times.
TRIES = 2
#: Seconds that Ray Data has to end a pass.
JOIN_SECONDS = 60.0
#: The run fails after this many passes in a row that gave no row.
PASSES = 6


def line_of(error: Exception) -> str:
    """An error in one line. Of Ray's errors, which hold tracebacks: the type and the last line."""
    if isinstance(error, TicodecError):
        return str(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1][:300]}" if lines else type(error).__name__


class Ledger:
    """Counts for all actors how often each share was begun, and knows whether the run is stopped.

    Ray repeats the work of a lost node or a dead actor. Without this count, a photo that kills
    every actor would be tried for ever.
    """

    def __init__(self) -> None:
        self.begun: Counter[tuple[str, int]] = Counter()
        self.stopped = False

    def begin(self, share: tuple[str, int]) -> int:
        """Count the start of a share, and return how often it was begun.

        Returns 0 if the run is stopped.

        Args:
            share: (name of its first file, number of its files).
        """
        if self.stopped:
            return 0
        self.begun[share] += 1
        return self.begun[share]

    def stop(self) -> None:
        """Let no further share begin."""
        self.stopped = True


class Actor:
    """Runs items of a job on the node where Ray starts it. `ledger` is the run's `Ledger`."""

    def __init__(self, job: Job, ledger: Any) -> None:
        self.job, self.ledger = job, ledger
        self.worker: Any = None
        if job.store:  # the driver's environment variables are not set here
            os.environ["TICODEC_WEIGHTS"] = job.store

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        """Turn a block of items into a block of rows.

        Both are pickled, because Arrow cannot hold every file name. If actors died `TRIES` times
        while they did a share, it gives no rows, unless it is a single file.
        """
        items = [pickle.loads(item) for item in batch["item"]]
        return {"row": [pickle.dumps(row) for row in self.rows(items)]}

    def rows(self, items: list[Item]) -> Iterator[Row]:
        """Do the items of a share and yield their rows."""
        import ray

        from .worker import Worker

        begun = ray.get(self.ledger.begin.remote((items[0].name, len(items))))
        if begun == 0:
            yield from map(Row.left, items)
        elif begun > TRIES:
            if len(items) == 1:
                error = f"every worker process died with this file, {TRIES} of them with it alone"
                yield Row.of(items[0], "failed", error=error)
        else:
            try:
                self.worker = self.worker or Worker(self.job)
            except Exception as error:  # e.g. other weights on this node: trying again is useless
                text = f"a worker cannot start: {line_of(error)}"
                yield from (Row.of(item, "failed", error=text) for item in items)
                return
            yield from self.worker.run(
                [replace(item, retry=item.retry or begun > 1) for item in items]
            )


class RayEngine:
    """Runs items on the Ray cluster that this process has joined (`ray_cluster.join`).

    Args:
        jobs: the most actors, or None for as many as the cluster has room for.
        cpus, gpus: CPUs and GPUs of each actor. They may be fractions.
        ours: whether the cluster was joined for this run only.
        grows: whether to wait for new nodes when there is no room for an actor.

    Raises TicodecError when there is no room for an actor and `grows` is false.
    """

    def __init__(
        self, job: Job, jobs: int | None, cpus: float, gpus: float, ours: bool, grows: bool
    ) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self.job, self.cpus, self.gpus, self.ours = job, cpus, gpus, ours
        self.stopped, self.trouble = False, "no rows"
        self.pending: dict[str, Item] = {}
        room = self._room()
        if not room and not grows:
            raise TicodecError(
                f"no node of the Ray cluster has {cpus:g} CPUs and {gpus:g} GPUs for a worker; "
                "if the cluster grows, give `jobs` to wait for new nodes"
            )
        self.jobs = jobs or room
        # The ledger lives on this process's node. On another node it could be lost.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.ledger: Any = ray.remote(Ledger).options(num_cpus=0, scheduling_strategy=here).remote()

    def _room(self) -> int:
        """The number of actors that fit into the cluster if nothing else runs there."""
        import ray

        room = 0
        for node in ray.nodes():
            has = node["Resources"] if node["Alive"] else {}
            rooms = [has.get("CPU", 0.0) / self.cpus] if self.cpus else []
            rooms += [has.get("GPU", 0.0) / self.gpus] if self.gpus else []
            room += int(min(rooms, default=has.get("CPU", 0.0)) + 1e-6)
        return room

    def run(self, items: Iterable[Item]) -> Iterator[Row]:
        """Do all items and yield a row for each. Raises TicodecError when the cluster fails."""
        self.pending = {item.name: item for item in items}
        try:
            stuck = 0
            while self.pending and not self.stopped and stuck < PASSES:
                if stuck:
                    time.sleep(2.0**stuck)  # until Ray sees that a node is gone
                before = list(self.pending.values())
                # After a pass without rows every file is tried alone, to find the one that kills
                # actors.
                yield from self._pass(before, 1 if stuck else CHUNK)
                stuck = stuck + 1 if len(self.pending) == len(before) else 0
                self.pending = {n: replace(i, retry=True) for n, i in self.pending.items()}
            for item in list(self.pending.values()):
                if self.stopped:
                    yield Row.left(item)
                    continue
                error = f"lost by Ray ({self.trouble}); run the same command again"
                yield Row.of(item, "failed", error=error)
        finally:
            self.close()

    def _pass(self, items: list[Item], share: int) -> Iterator[Row]:
        """Do items in shares of `share` files.

        Yields their rows. An item has no row if too many actors died while they did it.
        """
        import ray

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.max_errored_blocks = -1  # go on: items of a lost share stay in `pending`
        context.execution_no_progress_timeout_s = -1  # a share of large photos takes its time
        share = max(1, min(share, len(items) // (2 * self.jobs)))
        blocks = -(-len(items) // share)
        sources = ray.data.from_items(
            [{"item": pickle.dumps(item)} for item in items], override_num_blocks=blocks
        )
        rows = sources.map_batches(
            Actor,
            fn_constructor_args=(self.job, self.ledger),
            batch_size=share,
            compute=ray.data.ActorPoolStrategy(
                min_size=1, max_size=self.jobs, initial_size=self.jobs
            ),
            num_cpus=self.cpus,
            num_gpus=self.gpus,
        )
        try:
            for batch in rows.iter_batches(batch_size=None, prefetch_batches=0):
                for pickled in batch["row"]:
                    row: Row = pickle.loads(pickled)
                    if self.pending.pop(row.file, None):
                        yield row
        except ray.exceptions.RayError as error:  # a lost node ends a pass, not the run
            self.trouble = line_of(error)
        except Exception as error:  # anything else, with the remote traceback in it
            raise TicodecError(f"Ray failed: {line_of(error)}") from error
        finally:
            # Wait for Ray Data's thread. It ends this process if it finds that Ray is shut down.
            for thread in threading.enumerate():
                if "StreamingExecutor" in thread.name:
                    thread.join(JOIN_SECONDS)

    def current(self) -> list[str]:
        """Returns an empty list. Ray's dashboard shows what its actors do."""
        return []

    def stop(self) -> Iterator[Row]:
        """Begin no further share. `run` still yields the rows of what is left, from the actors."""
        self.stopped = True
        self.ledger.stop.remote()
        return iter(())

    def close(self) -> None:
        """Leave the cluster, if it was joined for this run."""
        if self.ours:
            leave()
