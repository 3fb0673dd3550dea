"""`ticodec batch encode|decode|classify`: trees of files, on one machine or a Ray cluster."""

from __future__ import annotations

import sys
import time
from contextlib import closing
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticodec.effort import USUAL_EFFORT
from ticodec.errors import Interrupted, TicodecError, UsageError
from ticodec.image_files import SUFFIXES
from ticodec.shown import shown
from ticodec.writers import DEFAULT, suffixes

from .batch_options import Common, Quality, Source, Target
from .dataclass_options import with_fields
from .flags import with_flags
from .help_pages import LABELS, OUTPUT, Command, Group, examples
from .output import (
    AllowTruncated,
    EveryFormat,
    Head,
    Model,
    OutputQuality,
    Strip,
    StripLocation,
    listed,
    print_json,
)
from .targets import Effort, TargetBpp, TargetMsSsim, TargetPsnr, TargetSize, quality_of

if TYPE_CHECKING:
    from ticodec.batch.messages import Job
    from ticodec.batch.run import Run
    from ticodec.batch.table import Table

HELP = """Encode, decode or classify whole trees: folders, zip files, s3://… and other URLs.

If a run was interrupted or files failed, run the same command again. It goes on, and leaves out \
files that are done and unchanged.

Exit codes: 0 all files are done, 1 some failed, 2 wrong usage, 3 weights or a table cannot be \
used, 130 interrupted."""

app = typer.Typer(
    cls=Group,
    help=HELP,
    no_args_is_help=True,
    epilog=examples(
        (
            "Encode a folder of photos, with all its subfolders.",
            "ticodec batch encode PHOTOS SMALL",
        ),
        ("Get pictures back from the .tic files.", "ticodec batch decode SMALL PICTURES"),
        ("Name what is in the photos, in a table.", "ticodec batch classify SMALL labels.csv"),
    ),
)


@app.command(
    cls=Command,
    epilog=examples(
        (
            "Encode a folder of photos, with all its subfolders.",
            "ticodec batch encode PHOTOS SMALL",
        ),
        (
            "See first what would be done.",
            "ticodec batch encode PHOTOS SMALL --dry-run",
        ),
        (
            "Encode only JPEGs, each to at most 200,000 bytes.",
            "ticodec batch encode PHOTOS SMALL --include '*.jpg' --target-size 200k",
        ),
    ),
)
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
    allow_truncated: AllowTruncated = False,
    strip: Strip = False,
    strip_location: StripLocation = False,
    delete_source: Annotated[
        bool,
        typer.Option(
            "--delete-source-after-verify",
            help="Delete each photo after its .tic file was read back, decoded and checked.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
) -> None:
    """Encode all photos below SRC into .tic files below DST.

    A target such as --target-size applies to each file. If a photo cannot reach it, that photo
    fails. With -f the file that comes nearest is written instead.
    """
    from ticodec.reading.options import Reading

    _check_folder("encode", source, target, {".tic"})
    targets = (target_size, target_bpp, target_psnr, target_ms_ssim)
    more = {
        "quality": quality_of(quality, *targets, force=common.force),
        "effort": effort,
        "model": model,
        "reading": Reading(strip, strip_location, allow_truncated),
        "delete_source": delete_source,
    }
    _run(common, common.job("encode", source, target, **more), None)


@app.command(
    cls=Command,
    epilog=examples(
        ("Decode all .tic files to PNG.", "ticodec batch decode SMALL PICTURES"),
        (
            "Decode all .tic files to JPEG.",
            "ticodec batch decode SMALL PICTURES --format jpg --output-quality 90",
        ),
    ),
)
@with_fields
def decode(
    source: Source,
    target: Target,
    common: Common,
    format: EveryFormat = None,
    output_quality: OutputQuality = None,
) -> None:
    """Decode all .tic files below SRC into images below DST."""
    _check_folder("decode", source, target, SUFFIXES.union(suffixes()))
    more = {"format": format or DEFAULT, "output_quality": output_quality}
    _run(common, common.job("decode", source, target, **more), None)


@app.command(
    cls=Command,
    epilog=examples(
        ("Write one label per file.", "ticodec batch classify SMALL labels.csv"),
        (
            "Write the three most probable ones.",
            "ticodec batch classify PHOTOS labels.jsonl --top 3",
        ),
    ),
)
@with_fields
def classify(
    source: Source,
    out: Annotated[
        str,
        typer.Argument(metavar="OUT", help="The table, a file: .csv, .jsonl or .parquet."),
    ],
    common: Common,
    top: Annotated[
        int,
        typer.Option(
            "--top",
            min=1,
            metavar="N",
            help="How many labels to write per file.",
            rich_help_panel=LABELS,
        ),
    ] = 1,
    head: Head = None,
    model: Model = None,
    quality: Quality = None,
) -> None:
    """Name what is in all .tic files and photos below SRC, in one table.

    The classifiers that ship with ticodec know only ten classes. They answer with the most similar
    one, whatever the picture shows.

    Photos are encoded in memory first, with --model and at --quality.
    """
    from ticodec.batch.table import Table

    where = None if head is None else str(head.absolute())
    more = {"quality": quality, "model": model, "head": where, "top": top}
    job = common.job("classify", source, None, **more)
    _run(common, job, Table(out, job))


def _check_folder(command: str, source: str, target: str, of_files: set[str]) -> None:
    """Refuse a DST that looks like a file, such as "one.tic", unless this folder exists.

    A user who wants a folder of this name can write "one.tic/".

    Args:
        command: "encode" or "decode".
        of_files: suffixes of the files that such a command writes.

    Raises UsageError.
    """
    path, is_url = Path(target), "://" in target or "::" in target
    if is_url or path.suffix.lower() not in of_files or target.endswith("/"):
        return
    try:
        is_folder, one_file = path.is_dir(), Path(source).is_file()
    except OSError:  # no permission, or a name that is too long: the run's own checks say so
        return
    if is_folder:
        return
    instead = f"write {quote(f'{target}/')} for a folder of this name"
    if one_file and Path(source).suffix.lower() != ".zip":
        instead = f"for one file use `ticodec {command} {quote(source)} {quote(target)}`"
    raise UsageError(f"{target}: DST is a folder; {instead}")


def _run(common: Common, job: Job, table: Table | None) -> None:
    """Run a job, show how far it is, and report on it.

    Raises TicodecError unless all files are done.
    """
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
        print_summary(job, totals, seconds, common.report)
    if interrupted:
        raise Interrupted(
            "interrupted; files that are done are kept; run the same command again to go on"
        )
    if ending is not None:
        raise ending
    if totals.whole < totals.files:
        # The reasons are not repeated here: each failure was printed when it happened.
        missing = totals.files - totals.whole
        raise TicodecError(f"{missing:,} of {files(totals.files)} not {PAST[job.action]}")


#: What `--dry-run` prints for files that need no coding.
WHAT = {"skipped": "up to date", "check": "check, and delete the source if nothing would be lost"}


def _say_what(run: Run, as_json: bool, quiet: bool) -> None:
    """Print what a run would do, one line per file."""
    from ticodec.batch.messages import Item, files
    from ticodec.batch.report import Totals

    from .batch_display import lacking, left_out

    totals = Totals.of((), run.plan)
    entries: list[dict[str, Any]] = []
    items: list[Item] = []
    for file in run.sifted():
        if isinstance(file, Item):
            items.append(file)
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
    for line in lacking(run, items):
        print(line, file=sys.stderr)
    for entry in entries:
        what = WHAT.get(entry["status"], run.job.action if entry["status"] == "todo" else "")
        if "notes" in entry:
            what = "; ".join(note["text"] for note in entry["notes"])
        arrow = f" → {entry['output']}" if entry["output"] != entry["file"] else ""
        print(shown(f"{what or entry['error']}: {entry['file']}{arrow}"))
    todo, checks = (sum(e["status"] == status for e in entries) for status in ("todo", "check"))
    also = f", {checks:,} to check" if checks else ""
    print(f"{todo:,} of {files(len(entries))} to {run.job.action}{also}; nothing was done")
    for name, what in left_out(totals).items():
        print(f"{name}: {what}")
