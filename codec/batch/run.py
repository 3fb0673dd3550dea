"""A whole run: plans, skips what is up to date, lets an engine do the rest, and yields rows."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from ticodec import memory
from ticodec.errors import UsageError
from ticodec.extras import check_extra
from ticodec.processes import cores

from .existing import sift
from .local import Here, LocalEngine
from .messages import Item, Job, Row
from .parts import divided
from .plan import Plan, check, make_plan
from .storage import place
from .table import Table


class Engine(Protocol):
    """Does items somewhere. `LocalEngine` documents the methods."""

    def run(self, items: Iterable[Item]) -> Iterator[Row]: ...
    def current(self) -> list[str]: ...
    def stop(self) -> Iterator[Row]: ...


@dataclass(frozen=True)
class Options:
    """How a run does its job.

    Args:
        include, exclude: shell patterns for file names, or for names of folders above them.
        skip_existing: skip files whose output is up to date.
        stop: begin no further file after a failure.
        jobs: number of processes or actors, or None for as many as cores and memory allow.
        engine: "local" or "ray".
        address: address of the Ray cluster, see `ray_cluster.named`.
        cpus, gpus: CPUs and GPUs of each actor. They may be fractions.
    """

    include: list[str] = field(default_factory=list)
    exclude: list[str] = field(default_factory=list)
    skip_existing: bool = True
    stop: bool = False
    jobs: int | None = None
    engine: Literal["local", "ray"] = "local"
    address: str | None = None
    cpus: float = 1.0
    gpus: float = 0.0


class Run:
    """One run of a job.

    Args:
        table: the table of labels. A job that classifies needs one.
        dry: if true, nothing will be written.

    `reported` has the rows that `rows` has yielded.

    Raises TicodecError when the run cannot begin: the source does not exist, the quality is out of
    range, the target cannot be written, or a package is missing.
    """

    def __init__(
        self, job: Job, options: Options, table: Table | None = None, dry: bool = False
    ) -> None:
        if options.engine == "ray" and not dry:
            check_extra("ray", "a Ray cluster", "ray", "pandas", "pyarrow")
        check(job, dry)
        if job.action != "decode":
            job = replace(job, weights=job.entry().fingerprint.hex())
        self.job, self.options, self.table = job, options, table
        self.shared = place(job.source).shared and (job.target is None or place(job.target).shared)
        if options.engine == "ray" and not self.shared:
            raise UsageError("memory:// exists in one process only; use the local engine")
        if table is not None and not dry:
            table.prepare()
        self.known = {} if table is None else table.known()
        self.plan: Plan = make_plan(job, options.include, options.exclude)
        if table is not None:
            table.check(self.known, self.plan.items)
        self.engine: Engine | None = None
        self.reported: list[Row] = []

    def sifted(self) -> Iterator[Item | Row]:
        """Yields an item for every file that is to be done, else its row. Changes nothing."""
        yield from self.plan.rows
        items, skip = self.plan.items, self.options.skip_existing
        if self.table is not None:
            yield from self.table.sift(items, self.known if skip else {})
        elif items:
            yield from sift(self.job, items, skip)

    def rows(
        self, begin: Callable[[list[Item]], None] = lambda items: None
    ) -> Generator[Row, None, None]:
        """Do the run and yield a row for every file as soon as it is done. Close it to stop early.

        Args:
            begin: called with the files to do, when it is known which files are up to date.

        Raises TicodecError when workers cannot start, or the table cannot be written.
        """
        with closing(self._rows(begin)) as rows:
            for row in rows:
                self.reported.append(row)
                yield row

    def all_rows(self) -> list[Row]:
        """A row for every file, after the run has ended in any way.

        Files that `rows` has not yielded, because it was interrupted or failed, are "left".
        """
        names = {row.file for row in self.reported}
        unreported = (item for item in self.plan.items if item.name not in names)
        return [*self.reported, *map(Row.left, unreported)]

    def _rows(self, begin: Callable[[list[Item]], None]) -> Generator[Row, None, None]:
        if self.job.target is not None:
            place(self.job.target).clean()
        stopped = False
        items: list[Item] = []
        for file in self.sifted():
            if isinstance(file, Item):
                items.append(file)
                continue
            stopped |= self._ends(file)
            yield file
        if stopped:
            yield from map(Row.left, items)
            return
        begin(items)
        if items:
            yield from self._run(items)
        if self.table is not None:
            self.table.finish()

    def _run(self, items: list[Item]) -> Iterator[Row]:
        self.engine = self._engine(len(items))
        source = self.engine.run(items)
        stopped = died = False
        try:
            for row in source:
                died |= row.retried
                if self.table is not None and row.status == "done":
                    self.table.add(row)
                yield row
                if self._ends(row) and not stopped:
                    stopped = True
                    yield from self.engine.stop()
        finally:
            source.close()  # type: ignore[attr-defined]
            if self.table is not None:
                self.table.save()
            if died and self.job.target is not None:
                place(self.job.target).clean()  # what dead workers were writing

    def _ends(self, row: Row) -> bool:
        """Whether no further file is begun after this row."""
        return row.fatal or (self.options.stop and row.status == "failed")

    def _engine(self, count: int) -> Engine:
        if self.options.engine == "ray":
            from .ray_client import connect

            options = self.options
            return connect(self.job, options.jobs, options.address, options.cpus, options.gpus)
        if not self.shared:
            return Here(self.job)
        jobs = min(count, self.options.jobs or default_jobs())
        return LocalEngine(divided(self.job, jobs), jobs)

    def current(self) -> list[str]:
        """Names of files that are being worked on."""
        return self.engine.current() if self.engine else []


def default_jobs() -> int:
    """The number of processes that cores and free memory allow."""
    free = memory.available()
    fits = cores() if free is None else max(1, free // memory.WORKER)
    return min(cores(), fits)
