"""`ticodec batch encode|decode|classify`: trees of files, on one machine or a Ray cluster."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticodec.container import MAX_PIXELS
from ticodec.effort import USUAL_EFFORT
from ticodec.errors import Interrupted, TicodecError, UsageError
from ticodec.memory import set_memory
from ticodec.shown import shown
from ticodec.writers import DEFAULT

from .dataclass_options import with_fields
from .flags import with_flags
from .output import (
    AllowTruncated,
    Device,
    EveryFormat,
    Json,
    MaxPixels,
    Memory,
    Model,
    OutputQuality,
    Quiet,
    Strip,
    StripLocation,
    listed,
    print_json,
)
from .targets import Effort, TargetBpp, TargetMsSsim, TargetPsnr, TargetSize, quality_of

if TYPE_CHECKING:
    from ticodec.batch.messages import Action, Job
    from ticodec.batch.run import Options, Run
    from ticodec.batch.table import Table

HELP = """Encode, decode or classify whole trees: folders, s3://…, zip files.

If anything went wrong, run the same command again: it leaves out what is done and unchanged. \
Exit codes: 0 all files, 1 some failed, 2 wrong usage, 3 weights or a \
table that cannot be used, 130 interrupted."""

app = typer.Typer(help=HELP, no_args_is_help=True)


class OnError(StrEnum):
    """What a failed file means for the others."""

    go_on = "continue"
    stop = "stop"


class Engine(StrEnum):
    """Where workers run."""

    local = "local"
    ray = "ray"


Source = Annotated[str, typer.Argument(metavar="SRC", help="Folder, file, .zip or fsspec URL.")]
Target = Annotated[str, typer.Argument(metavar="DST", help="Folder or URL; the tree is kept.")]
Quality = Annotated[
    float | None, typer.Option("--quality", "-q", help="1 (smallest) to 8. \\[default: 4]")
]


@dataclass(frozen=True)
class Common:
    """The options that all three commands have."""

    include: Annotated[
        list[str] | None,
        typer.Option(help="Only files or folders that match ('*.jpg', '2024'); repeatable."),
    ] = None
    exclude: Annotated[
        list[str] | None, typer.Option(help="Leave out files or folders that match; repeatable.")
    ] = None
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Enter linked folders too, each folder once.")
    ] = False
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, help="Workers. \\[default: cores, if memory allows]"),
    ] = None
    skip_existing: Annotated[
        bool, typer.Option(help="Leave out files whose output is up to date.")
    ] = True
    force: Annotated[
        bool,
        typer.Option(
            "--force", "-f", help="Overwrite files that are not outputs of this SRC, too."
        ),
    ] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be done.")] = (
        False
    )
    on_error: Annotated[OnError, typer.Option(help="What to do after a file failed.")] = (
        OnError.go_on
    )
    report: Annotated[
        Path | None, typer.Option(help="Write a .json or .csv with one row per file.")
    ] = None
    engine: Annotated[Engine, typer.Option(help="Work on this machine or on a Ray cluster.")] = (
        Engine.local
    )
    address: Annotated[
        str | None,
        typer.Option(help="Ray: auto, ray://… \\[default: $RAY_ADDRESS, or this machine]"),
    ] = None
    cpus: Annotated[float, typer.Option(min=0, help="Ray: CPUs per worker.")] = 1.0
    gpus: Annotated[float, typer.Option(min=0, help="Ray: GPUs per worker, e.g. 0.25.")] = 0.0
    device: Device = "auto"
    as_json: Json = False
    quiet: Quiet = False
    max_pixels: MaxPixels = MAX_PIXELS
    memory: Memory = None

    def job(self, action: Action, source: str, target: str | None, **more: Any) -> Job:
        """The job that these options describe. Raises UsageError."""
        from ticodec.batch.messages import Job
        from ticodec.batch.storage import absolute
        from ticodec.inputs import check_device

        check_device(self.device)
        if self.memory is not None:
            set_memory(self.memory)
        return Job(
            action,
            source=absolute(source),
            target=None if target is None else absolute(target),
            follow_links=self.follow_links,
            device=self.device,
            max_pixels=self.max_pixels,
            replace=self.force,
            **more,
        )

    def options(self) -> Options:
        """The options of the run itself. Raises UsageError."""
        from ticodec.batch.run import Options

        if self.engine is Engine.local and (self.address or self.cpus != 1 or self.gpus):
            raise UsageError("--address, --cpus and --gpus are for --engine ray")
        return Options(
            include=self.include or [],
            exclude=self.exclude or [],
            skip_existing=self.skip_existing,
            stop=self.on_error is OnError.stop,
            jobs=self.jobs,
            engine=self.engine.value,
            address=self.address,
            cpus=self.cpus,
            gpus=self.gpus,
        )


@app.command()
@with_fields
def encode(
    source: Source,
    target: Target,
    common: Common,
    quality: Quality = None,
    target_size: TargetSize = None,
    target_bpp: TargetBpp = None,
    target_psnr: TargetPsnr = None,
    target_ms_ssim: TargetMsSsim = None,
    effort: Effort = USUAL_EFFORT,
    model: Model = None,
    strip: Strip = False,
    strip_location: StripLocation = False,
    allow_truncated: AllowTruncated = False,
    delete_source: Annotated[
        bool,
        typer.Option(
            "--delete-source-after-verify",
            help="Delete an image after its .tic file was read back, decoded and checked.",
        ),
    ] = False,
) -> None:
    """Encode all images below SRC into .tic files below DST. The images stay, unless you say so.

    A target is for each file. Photos that cannot reach it fail, or with -f get the nearest.
    """
    from ticodec.reading.options import Reading

    targets = (target_size, target_bpp, target_psnr, target_ms_ssim)
    more = {
        "quality": quality_of(quality, *targets, force=common.force),
        "effort": effort,
        "model": model,
        "reading": Reading(strip, strip_location, allow_truncated),
        "delete_source": delete_source,
    }
    _run(common, common.job("encode", source, target, **more), None)


@app.command()
@with_fields
def decode(
    source: Source,
    target: Target,
    common: Common,
    format: EveryFormat = None,
    output_quality: OutputQuality = None,
) -> None:
    """Decode all .tic files below SRC into images below DST."""
    more = {"format": format or DEFAULT, "output_quality": output_quality}
    _run(common, common.job("decode", source, target, **more), None)


@app.command()
@with_fields
def classify(
    source: Source,
    out: Annotated[
        str, typer.Argument(metavar="OUT", help="Table to write: .csv, .jsonl or .parquet.")
    ],
    common: Common,
    top: Annotated[int, typer.Option("--top", min=1, help="Labels per file.")] = 1,
    head: Annotated[
        Path | None, typer.Option("--weights", help="A classifier's file that `export` wrote.")
    ] = None,
    model: Model = None,
    quality: Quality = None,
) -> None:
    """Name what is in all .tic files and images below SRC, in one table.

    Images are encoded in memory first, with --model at --quality.
    """
    from ticodec.batch.table import Table

    where = None if head is None else str(head.absolute())
    more = {"quality": quality, "model": model, "head": where, "top": top}
    job = common.job("classify", source, None, **more)
    _run(common, job, Table(out, job))


def _run(common: Common, job: Job, table: Table | None) -> None:
    """Run a job, show it, report it. Raises TicodecError unless all files are done."""
    from ticodec.batch.messages import PAST, files
    from ticodec.batch.report import Totals, check_report, write_report
    from ticodec.batch.run import Run

    from .batch_display import Display, print_summary

    if common.report is not None:
        check_report(common.report, table, common.force)
    started = time.perf_counter()
    run = Run(job, common.options(), table, common.dry_run)
    if common.dry_run:
        _say_what(run, common.as_json, common.quiet)
        return
    totals = Totals.of((), run.plan)
    display = Display(run, totals, common.quiet or common.as_json)
    interrupted = False
    ending: TicodecError | None = None
    try:
        with closing(run.rows(display.begin)) as rows, display:
            for row in rows:
                row.error = with_flags(row.error, names=(row.file, row.output))
                row.kept = with_flags(row.kept)
                totals.add(row)
                display.show(row)
    except KeyboardInterrupt:
        interrupted = True
    except TicodecError as error:
        ending = error
    every = run.all_rows()
    totals = Totals.of(every, run.plan)
    seconds = time.perf_counter() - started
    if common.report is not None:
        write_report(common.report, every, totals, seconds)
    if common.as_json:
        print_json(totals.summary(seconds) | {"reasons": dict(totals.reasons)})
    elif not common.quiet:
        print_summary(job, totals, seconds)
    if interrupted:
        raise Interrupted("interrupted; what is done is kept: the same command goes on")
    if ending is not None:
        raise ending
    if totals.whole < totals.files:
        # The reasons are not repeated here: each failure was printed when it happened.
        missing = totals.files - totals.whole
        raise TicodecError(f"{missing:,} of {files(totals.files)} not {PAST[job.action]}")


#: What `--dry-run` says of files that are not to be done.
WHAT = {"skipped": "up to date", "check": "check, then delete the source"}


def _say_what(run: Run, as_json: bool, quiet: bool) -> None:
    """Print what a run would do, a line per file."""
    from ticodec.batch.messages import Item, files
    from ticodec.batch.report import Totals

    from .batch_display import left_out

    totals = Totals.of((), run.plan)
    entries: list[dict[str, Any]] = []
    for file in run.sifted():
        if isinstance(file, Item):
            status = "check" if file.verify else "todo"
            entries.append({"file": file.name, "output": file.output, "status": status})
        else:
            entry: dict[str, Any] = {"file": file.file, "output": file.output}
            entry["status"] = file.status
            if file.error:
                entry["error"] = with_flags(file.error, names=(file.file, file.output))
            if file.notes:
                entry["notes"] = listed(file.notes)
            entries.append(entry)
    if as_json:
        others = {"left_out": dict(totals.left_out), "excluded": totals.excluded}
        print_json({"files": entries} | others)
        return
    if quiet:
        return
    for entry in entries:
        what = WHAT.get(entry["status"], run.job.action if entry["status"] == "todo" else "")
        if "notes" in entry:
            what = "; ".join(note["text"] for note in entry["notes"])
        arrow = f" → {entry['output']}" if entry["output"] != entry["file"] else ""
        print(shown(f"{what or entry['error']}: {entry['file']}{arrow}"))
    todo = sum(entry["status"] == "todo" for entry in entries)
    print(f"{todo:,} of {files(len(entries))} to {run.job.action}; nothing was done")
    for name, what in left_out(totals).items():
        print(f"{name}: {what}")
