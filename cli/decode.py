"""`ticodec decode`: a `.tic` file to an image file."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from ticodec import weights
from ticodec.container import MAX_PIXELS
from ticodec.crop import box_of
from ticodec.inputs import as_container
from ticodec.memory import set_memory
from ticodec.writers import DEFAULT, suffixes, writer_of

from .input_output import STANDARD, about, output_for, read_input, write_output
from .output import (
    Device,
    Force,
    Format,
    Json,
    MaxPixels,
    Memory,
    OutputQuality,
    Quiet,
    facts_of,
    report,
)
from .progress_bar import bar


def decode(
    source: Annotated[str, typer.Argument(metavar="IN", help=".tic file; - is stdin.")],
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[OUT]",
            help="Its suffix chooses the format. By default IN with .png; - is stdout.",
        ),
    ] = None,
    format: Format = None,
    output_quality: OutputQuality = None,
    crop: Annotated[
        tuple[int, int, int, int] | None,
        typer.Option(
            "--crop",
            metavar="X Y W H",
            help="Decode only a part: W×H pixels from column X, row Y. Quicker than all.",
        ),
    ] = None,
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
    max_pixels: MaxPixels = MAX_PIXELS,
    memory: Memory = None,
) -> None:
    """Decode a .tic file into a PNG, WebP, JPEG, AVIF or TIFF."""
    from ticodec.api import loaded

    started = time.perf_counter()
    if memory is not None:
        set_memory(memory)
    usual = writer_of(format or DEFAULT)
    others = usual.suffixes if format else suffixes()
    target = output_for(source, target, usual.suffixes[0], force, others)
    writer = usual if target == STANDARD else writer_of(target.rpartition(".")[2])
    writer.checked_quality(output_quality)
    with about(source):
        file = as_container(read_input(source), max_pixels)
        # Before seconds are spent on loading the network:
        box = box_of(crop, file.header.height, file.header.width)
        writer.check(box.width, box.height, file.section("alpha") is not None)
        entry = weights.of(file.header)
    text = f"decoding {source} with {entry.name}"
    with bar(text, quiet or as_json) as progress, about(source):
        picture = loaded(entry, device).decode(file, crop=crop, progress=progress)
        image = writer.write(picture.to_image(), output_quality)
    write_output(target, image)
    facts = facts_of(source, target, entry.name, file, started)
    facts |= {"width": box.width, "height": box.height, "bytes": len(image)}
    del facts["bpp"]  # of the .tic, not of the image
    line = f"{source} → {target}: {facts['width']}×{facts['height']}, {facts['seconds']:.1f} s"
    report(facts, line, as_json, quiet)
