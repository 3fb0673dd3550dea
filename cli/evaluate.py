"""`ticodec evaluate`: measure our models and other codecs on a folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ticodec.container import MAX_PIXELS
from ticodec.shown import shown

from .evaluation_options import (
    Against,
    Efforts,
    Models,
    bars,
    coder_specs,
    efforts_of,
    qualities_of,
    show_table,
)
from .help_pages import COMPARISON, MACHINE, OUTPUT, QUALITY, examples
from .output import Device, Json, MaxPixels, Memory, Quiet, print_json

EXAMPLES = examples(
    ("Measure the default model, and other codecs to compare with.", "ticodec evaluate PHOTOS"),
    (
        "Measure two models at three qualities, without other codecs.",
        "ticodec evaluate PHOTOS -m tic-plus,tic-lite -q 1,4,8 --against none",
    ),
    (
        "See what more effort gains on your photos.",
        "ticodec evaluate PHOTOS --effort 1,2,5,9 --out effort-report",
    ),
)


def evaluate(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Folder of images. Its subfolders are measured too."),
    ],
    quality: Annotated[
        str | None,
        typer.Option(
            "--quality",
            "-q",
            metavar="LIST",
            help="Qualities of our models, separated by commas. \\[default: 1,2,3,4,5,6,7,8]",
            rich_help_panel=QUALITY,
        ),
    ] = None,
    effort: Efforts = "1",
    model: Models = None,
    against: Against = None,
    classifier: Annotated[
        Path | None,
        typer.Option(
            "--classifier",
            metavar="FILE",
            help="Also measure how accurate this classifier of pixels is on what each codec "
            "decodes.",
            rich_help_panel=COMPARISON,
        ),
    ] = None,
    head: Annotated[
        Path | None,
        typer.Option(
            "--weights",
            metavar="FILE",
            help="Use this classifier of latents instead of the model's own.",
            rich_help_panel=COMPARISON,
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="Folder for the report.", rich_help_panel=OUTPUT),
    ] = Path("report"),
    pictures: Annotated[
        int,
        typer.Option(
            "--pictures",
            min=0,
            metavar="N",
            help="Show at most this many images on the report's page.",
            rich_help_panel=OUTPUT,
        ),
    ] = 24,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh",
            help="Measure everything again, even what --out already has.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs",
            min=1,
            metavar="N",
            help="How many processes measure at once. They slow each other down, so use one to "
            "measure times.",
            rich_help_panel=MACHINE,
        ),
    ] = 1,
    device: Device = "auto",
    max_pixels: MaxPixels = MAX_PIXELS,
    memory: Memory = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure codecs on a folder of images and write a report: bpp, PSNR, MS-SSIM, seconds.

    Every image is encoded, written, read and decoded. Measurements are kept in --out, so the same
    command can be run again to go on.

    If the subfolders have the names of a classifier's classes, its accuracy is measured too.
    """
    from ticodec.errors import Interrupted, TicodecError
    from ticodec.evaluation import measure, report_files, report_tables, summary
    from ticodec.evaluation.folder_labels import PixelFile
    from ticodec.evaluation.registry import with_head

    qualities, efforts = qualities_of(quality), efforts_of(effort)
    specs = coder_specs(model, qualities, efforts, against, device, head)
    specs = with_head(specs, head) if head else specs
    pixels = PixelFile.checked(classifier, device) if classifier else None
    try:
        with bars(quiet or as_json) as progress:
            measured = measure.evaluate(
                folder, specs, out, jobs, fresh, max_pixels, progress, pixels
            )
            means = summary.summarise(measured)
            files = report_files.write_report(measured, means, str(folder), pictures, progress)
    except KeyboardInterrupt as error:
        again = "run the same command again" + (" without --fresh" if fresh else "")
        kept = f"; what was measured is kept in {out}; {again} to go on"
        raise Interrupted(f"interrupted{kept if out.is_dir() else ''}") from error
    if as_json:
        facts: dict[str, Any] = report_tables.facts(measured, means, str(folder))
        del facts["measurements"]
        print_json(facts)
    elif not quiet:
        for table in reversed(report_files.tables_of(measured, means)):
            show_table(table)
        page, *others = sorted(files, key=lambda name: not name.endswith(".html"))
        print(shown(f"wrote {out / page} to look at, and beside it {', '.join(others)}"))
    if measured.failed:
        lines = "; ".join(f"{name}: {why}" for name, why in measured.failed.items())
        raise TicodecError(f"left out {report_tables.images(len(measured.failed))}: {lines}")
