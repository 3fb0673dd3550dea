"""`ticodec compare`: one photo by several codecs at the same size, on a page to look at."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ticodec.container import MAX_PIXELS

from .evaluation_options import (
    Against,
    Efforts,
    Models,
    bars,
    coder_specs,
    efforts_of,
    qualities_of,
)
from .input_output import about, check_input, output_for
from .output import Device, Force, Json, MaxPixels, Quiet, report


def compare(
    photo: Annotated[str, typer.Argument(metavar="PHOTO", help="Image file.")],
    target: Annotated[
        str | None, typer.Argument(metavar="[OUT]", help="By default PHOTO with .html.")
    ] = None,
    quality: Annotated[
        str | None,
        typer.Option("--quality", "-q", help="One, or several, comma-separated. \\[default: 4]"),
    ] = None,
    effort: Efforts = "1",
    model: Models = None,
    against: Against = None,
    browse: Annotated[bool, typer.Option("--open", help="Show the page in a browser.")] = False,
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
    max_pixels: MaxPixels = MAX_PIXELS,
) -> None:
    """Compare codecs on one photo: a page with a slider, every codec at the same size."""
    from ticodec.errors import TicodecError, UsageError
    from ticodec.evaluation.packages import check_evaluation_packages
    from ticodec.evaluation.photo_page import compare as compare_photo
    from ticodec.files import write_file

    if photo == "-" or target == "-":
        raise UsageError("compare reads a file and writes a page, not stdin and stdout")
    check_input(photo)
    target = output_for(photo, target, ".html", force)
    qualities = qualities_of(quality)
    specs = coder_specs(model, qualities, efforts_of(effort), against, device)
    check_evaluation_packages()
    with about(photo), bars(quiet or as_json) as progress:
        page, rows, failed = compare_photo(Path(photo), specs, qualities, max_pixels, progress)
    write_file(Path(target), page, new=not force)
    facts = {
        "input": photo,
        "output": target,
        "versions": [asdict(row) for of_quality in rows for row in of_quality],
    }
    sizes = ", ".join(f"{row.coder} {row.bytes:,} bytes {_quality(row.psnr)}" for row in rows[0])
    report(facts, f"{photo} → {target}: {sizes}", as_json, quiet)
    if browse:
        import webbrowser

        webbrowser.open(Path(target).resolve().as_uri())
    if failed:
        raise TicodecError(f"left out {'; '.join(failed.values())}")


def _quality(psnr: float | None) -> str:
    return "lossless" if psnr is None else f"{psnr:.2f} dB"
