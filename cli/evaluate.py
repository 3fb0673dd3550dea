"""`ticodec evaluate`: measure a folder of images, beside other codecs."""

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
from .output import Device, Json, MaxPixels, Quiet, print_json


def evaluate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Images, subfolders too.")],
    model: Models = None,
    quality: Annotated[
        str | None,
        typer.Option(
            "--quality", "-q", help="Comma-separated qualities. \\[default: 1,2,3,4,5,6,7,8]"
        ),
    ] = None,
    effort: Efforts = "1",
    against: Against = None,
    classifier: Annotated[
        Path | None,
        typer.Option(
            "--classifier",
            metavar="FILE",
            help="A classifier of pixels: its accuracy on what every codec decodes.",
        ),
    ] = None,
    head: Annotated[
        Path | None,
        typer.Option(
            "--weights",
            metavar="FILE",
            help="A classifier of latents, instead of the model's own.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for the report.")] = Path("report"),
    jobs: Annotated[
        int, typer.Option("--jobs", min=1, help="Processes. Times are only comparable with 1.")
    ] = 1,
    pictures: Annotated[
        int, typer.Option("--pictures", min=0, help="The most images on the page.")
    ] = 24,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure everything again, also what is in --out.")
    ] = False,
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
    max_pixels: MaxPixels = MAX_PIXELS,
) -> None:
    """Measure bpp, PSNR, MS-SSIM and seconds on a folder of images; write a report.

    Files are written and decoded. What was measured before is not measured again.

    Accuracy is measured too if subfolders have the names of a classifier's classes.
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
        again = "the same command, without --fresh," if fresh else "the same command"
        kept = f"; what is measured is kept in {out}: {again} goes on from there"
        raise Interrupted(f"interrupted{kept if out.is_dir() else ''}") from error
    if as_json:
        facts: dict[str, Any] = report_tables.facts(measured, means, str(folder))
        del facts["measurements"]
        print_json(facts)
    elif not quiet:
        for table in reversed(report_files.tables_of(measured, means)):
            show_table(table)
        print(shown(f"wrote {', '.join(files)} in {out}"))
    if measured.failed:
        lines = "; ".join(f"{name}: {why}" for name, why in measured.failed.items())
        raise TicodecError(f"left out {report_tables.images(len(measured.failed))}: {lines}")
