"""`ticodec compare`: a page that shows one photo by several codecs at the same size."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

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
)
from .help_pages import OUTPUT, QUALITY, examples
from .input_output import about, check_input, output_for
from .output import Device, Force, Json, MaxPixels, Memory, Quiet, report

EXAMPLES = examples(
    ("Make photo.html beside the photo.", "ticodec compare photo.jpg"),
    (
        "Compare two qualities with AVIF alone, and open the page.",
        "ticodec compare photo.jpg page.html -q 2,5 --against avif --open",
    ),
)


def compare(
    photo: Annotated[str, typer.Argument(metavar="PHOTO", help="The photo, an image file.")],
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="OUT",
            help="The page. \\[default: PHOTO with the suffix .html]",
        ),
    ] = None,
    quality: Annotated[
        str | None,
        typer.Option(
            "--quality",
            "-q",
            metavar="LIST",
            help="Qualities of our models, 1 to 8, separated by commas. \\[default: 4]",
            rich_help_panel=QUALITY,
        ),
    ] = None,
    effort: Efforts = "1",
    model: Models = None,
    against: Against = None,
    browse: Annotated[
        bool,
        typer.Option("--open", help="Open the page in a browser.", rich_help_panel=OUTPUT),
    ] = False,
    force: Force = False,
    device: Device = "auto",
    max_pixels: MaxPixels = MAX_PIXELS,
    memory: Memory = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show one photo by several codecs at the same size, on a page with a slider.

    Every other codec is set so that its file has about as many bytes as ours.
    """
    from ticodec.errors import TicodecError, UsageError
    from ticodec.evaluation.packages import check_evaluation_packages
    from ticodec.evaluation.photo_page import compare as compare_photo
    from ticodec.files import write_file

    if photo == "-" or target == "-":
        raise UsageError("compare reads a file and writes a page, not stdin and stdout")
    check_input(photo, folders="evaluate {}")
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

        if not webbrowser.open(Path(target).resolve().as_uri()):
            text = f"ticodec: no browser can be opened here; open {target} in a browser"
            print(shown(text), file=sys.stderr)
    if failed:
        raise TicodecError(f"left out {'; '.join(failed.values())}")


def _quality(psnr: float | None) -> str:
    return "lossless" if psnr is None else f"{psnr:.2f} dB"
