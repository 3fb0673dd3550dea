"""What `ticodec batch` shows: a live bar on a terminal, plain lines elsewhere, and a summary."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.filesize import decimal
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ticodec import weights
from ticodec.batch.messages import PAST, files
from ticodec.errors import TicodecError
from ticodec.extras import is_missing
from ticodec.image_files import NEED_EXTRAS
from ticodec.shown import shown

from .classify import note_on_few

if TYPE_CHECKING:
    from ticodec.batch.messages import Item, Job, Row
    from ticodec.batch.report import Totals
    from ticodec.batch.run import Run

#: Seconds between plain lines about the progress.
EVERY = 10.0
#: Bytes that are added to each file's size when the time left is estimated, since small files take
#: time too.
BASE = 50_000
#: The time left is estimated from the files of the last 1800 seconds. One file may take minutes.
PACE = 1800.0
#: How many reasons for failures a summary lists, and how many suffixes of files that it left out.
REASONS, SUFFIXES = 5, 8


class Display:
    """Shows a run on stderr while it goes on.

    Args:
        run: the run that is shown.
        totals: totals of the rows so far, which the caller updates.
        quiet: whether to show nothing but failures.
    """

    def __init__(self, run: Run, totals: Totals, quiet: bool) -> None:
        self.run, self.totals, self.quiet = run, totals, quiet
        self.console = Console(stderr=True, highlight=False)
        self.started = self.printed = time.monotonic()
        self.files = len(run.plan.items) + len(run.plan.rows)
        self.sizes = {item.name: item.size + BASE for item in run.plan.items}
        self.progress = Progress(
            TextColumn(run.job.action),
            BarColumn(),
            TextColumn("{task.fields[files]}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self.console,
            speed_estimate_period=PACE,
        )
        self.task = self.progress.add_task("", total=sum(self.sizes.values()), files="")
        self.live: Live | None = None
        if not quiet and self.console.is_terminal:
            self.live = Live(
                get_renderable=self._render,
                console=self.console,
                refresh_per_second=4,
                transient=True,
            )

    def __enter__(self) -> Display:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.live:
            self.live.stop()

    def begin(self, items: list[Item]) -> None:
        """Print how many files are to be done, and how many are only to be checked.

        Also print which packages these files need that are not installed.
        """
        checks = sum(item.verify for item in items)
        # Files that were up to date took no time, so they must not count for the pace of the rest.
        self.progress.reset(self.task, completed=int(self.progress.tasks[0].completed))
        if self.live is None and not self.quiet:
            also = f", {files(checks)} to check before the source is deleted" if checks else ""
            self._print(f"{files(len(items) - checks)} to {self.run.job.action}{also}")
        if not self.quiet:
            for line in lacking(self.run, items):
                self._print(line)

    def show(self, row: Row) -> None:
        """Count a row, and print it at once if it failed."""
        self.progress.advance(self.task, self.sizes.get(row.file, 0))
        if row.status == "failed":
            self._print(f"{shown(row.file)}: {row.error}")
        elif row.retried:
            why = "because a worker process died at the first try"
            self._print(f"{shown(row.file)}: done at the second try, {why}")
        if self.live is None and not self.quiet and time.monotonic() - self.printed >= EVERY:
            self.printed = time.monotonic()
            self._print(self._line())

    def _print(self, text: str) -> None:
        line = Text(shown(" ".join(text.split())))
        if self.live:
            self.live.console.print(line, soft_wrap=True)
        else:
            print(line.plain, file=sys.stderr, flush=True)

    def _line(self) -> str:
        """The progress of the run in one line."""
        totals, task = self.totals, self.progress.tasks[0]
        rate = totals.done_pixels / 1e6 / max(1e-9, time.monotonic() - self.started)
        parts = [f"{totals.files:,} of {files(self.files)}", f"{rate:.2f} MP/s"]
        if self.run.job.target is not None:
            parts.append(
                f"{decimal(totals.bytes_in)} → {decimal(totals.bytes_out)}{_ratio(totals)}"
            )
        if totals.counts["failed"]:
            parts.append(f"{totals.counts['failed']:,} failed")
        if not self.live and task.time_remaining is not None:
            parts.append(f"about {_duration(task.time_remaining)} left")
        return ", ".join(parts)

    def _render(self) -> RenderableType:
        self.progress.update(self.task, files=f"{self.totals.files:,}/{self.files:,}")
        names = "  ".join(map(shown, self.run.current()))
        current = Text(names, style="dim", overflow="ellipsis")
        current.no_wrap = True
        return Group(self.progress, Text(self._line()), current)


def lacking(run: Run, items: Iterable[Item]) -> Iterator[str]:
    """Yields a line for each extra that is not installed, although files of a run need it.

    Only the suffixes of the files are looked at. Yields nothing if the files are read on a Ray
    cluster, because other packages may be installed there.
    """
    if run.options.engine == "ray":
        return
    suffixes = Counter(PurePosixPath(item.name).suffix.lower() for item in items)
    for extra, needed in NEED_EXTRAS.items():
        found = sorted(needed.suffixes.intersection(suffixes))
        if found and is_missing(needed.module):
            count = sum(suffixes[suffix] for suffix in found)
            need = f"need{'s' if count == 1 else ''} a package that is not installed"
            yield f"{files(count)} ({', '.join(found)}) {need}: pip install 'ticodec[{extra}]'"


def print_summary(job: Job, totals: Totals, seconds: float, report: Path | None = None) -> None:
    """Print what a run did on stdout: counts, sizes, and the reasons of failures.

    Args:
        report: the report that was written, if any.
    """
    if not totals.files:
        print(f"nothing to {job.action} below {shown(job.source)}")
        for name, what in left_out(totals).items():
            print(f"{name}: {what}")
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")  # a long name is not cut
    lines = (
        *_successes(job, totals, seconds),
        *_classes(job, totals),
        *_troubles(job, totals, report),
        *left_out(totals).items(),
    )
    for name, what in lines:
        table.add_row(name, Text(what))
    Console().print(table)


def _successes(job: Job, totals: Totals, seconds: float) -> Iterator[tuple[str, str]]:
    """The names and texts of summary lines about files that are done or up to date."""
    counts = totals.counts
    coded, pixels = counts["done"] - totals.checked, totals.done_pixels - totals.checked_pixels
    rate = pixels / 1e6 / max(seconds, 1e-9)
    if coded:
        yield (
            PAST[job.action],
            f"{files(coded)}, {pixels / 1e6:.1f} megapixels in {_duration(seconds)}, "
            f"{rate:.2f} MP/s",
        )
    if totals.checked:
        time_taken = "" if coded else f", in {_duration(seconds)}"
        yield (
            "checked",
            f"{files(totals.checked)} that an earlier run {PAST[job.action]}{time_taken}",
        )
    if counts["skipped"]:
        yield "up to date", files(counts["skipped"])
        if job.action == "encode" and totals.unread:
            yield (
                "",
                "their notes are not read again; to see them, encode again with --no-skip-existing",
            )
    if job.target is not None and totals.whole:
        sizes = f"{decimal(totals.bytes_in)} → {decimal(totals.bytes_out)}{_ratio(totals)}"
        if job.action == "encode":
            sizes += f", {totals.bytes_out * 8 / max(1, totals.pixels):.3f} bits per pixel"
        yield "size", sizes
    if totals.retried:
        yield "second try", f"{files(totals.retried)}: a worker process died at the first try"
    if totals.deleted:
        worst = "" if totals.psnr is None else f"; the lowest PSNR is {totals.psnr:.1f} dB"
        yield "deleted", f"{files(totals.deleted)} of the source, after a check{worst}"


def _classes(job: Job, totals: Totals) -> Iterator[tuple[str, str]]:
    """The names and texts of summary lines about classifiers that have few classes.

    The user knows the classes of a classifier that the job names.
    """
    notes: set[str] = set()
    if job.action == "classify" and job.head is None:
        for name in totals.models:
            with suppress(TicodecError):  # the weights were changed during the run
                notes.add(note_on_few(weights.read_labels(weights.find(name))))
    for note in sorted(notes - {""}):
        yield "classes", shown(note)


def _troubles(job: Job, totals: Totals, report: Path | None) -> Iterator[tuple[str, str]]:
    """The names and texts of summary lines about losses, failures, and files that are left."""
    where = "--report FILE writes" if report is None else f"{report} has"
    if totals.kept:
        yield (
            "kept",
            shown(f"{files(totals.kept)} of the source; {where} the reason for each"),
        )
    if totals.notes:
        yield "notes", shown(f"{where} them for each file")
        one = "photo" if job.action == "encode" else "file"
        for kind, count in totals.notes.most_common():
            who = f"1 {one}:" if count == 1 else f"{count:,} {one}s, such as:"
            yield "", f"{who} {totals.examples[kind]}"
    if totals.counts["failed"]:
        yield "failed", files(totals.counts["failed"])
        for reason, count in totals.reasons.most_common(REASONS):
            yield "", shown(f"{count:,}× {reason}")
        if len(totals.reasons) > REASONS:
            rest = len(totals.reasons) - REASONS
            yield "", shown(f"and {rest:,} other reasons; {where} them for each file")
    if totals.counts["left"]:
        yield "not done", f"{files(totals.counts['left'])}; run the same command again to go on"


def left_out(totals: Totals) -> dict[str, str]:
    """The names and texts of summary lines about files that a run leaves out."""
    found = {}
    if totals.left_out:
        ordered = sorted(totals.left_out.items(), key=lambda pair: (-pair[1], pair[0]))
        parts = [f"{n:,} {shown(suffix) or 'without suffix'}" for suffix, n in ordered[:SUFFIXES]]
        if rest := ordered[SUFFIXES:]:
            parts.append(f"{sum(n for _, n in rest):,} of {len(rest):,} other suffixes")
        found["left out"] = ", ".join(parts)
    if totals.excluded:
        found["excluded"] = f"{files(totals.excluded)}, by --include or --exclude"
    return found


def _ratio(totals: Totals) -> str:
    """How much smaller or larger the outputs are, in words. Returns "" if there are no bytes."""
    if not totals.bytes_in or not totals.bytes_out:
        return ""
    ratio = totals.bytes_in / totals.bytes_out
    return f" ({ratio:.1f} times smaller)" if ratio >= 1 else f" ({1 / ratio:.1f} times larger)"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
