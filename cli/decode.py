"""`ticodec decode`: a `.tic` file to an image file."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from ticodec import weights
from ticodec.container import MAX_PIXELS
from ticodec.crop import aligned, box_of
from ticodec.errors import UsageError
from ticodec.inputs import SCALES, as_container
from ticodec.memory import set_memory
from ticodec.writers import DEFAULT, suffixes, writer_of

from .input_output import (
    STANDARD,
    about,
    attributes_of,
    check_input,
    output_for,
    read_input,
    write_output,
)
from .output import (
    Device,
    Force,
    Format,
    Json,
    MaxPixels,
    Memory,
    OutputQuality,
    PreserveTimes,
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
    scale: Annotated[
        str | None,
        typer.Option("--scale", help="1/2, 1/4 or 1/8 of the size, for less work."),
    ] = None,
    preserve_times: PreserveTimes = False,
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
    divisor = divisor_of(scale)
    if memory is not None:
        set_memory(memory)
    usual = writer_of(format or DEFAULT)
    others = usual.suffixes if format else suffixes()
    check_input(source, "decode", wanted="tic")
    target = output_for(source, target, usual.suffixes[0], force, others, "decode")
    attributes = attributes_of(source, target, preserve_times)
    writer = usual if target == STANDARD else writer_of(target.rpartition(".")[2])
    writer.checked_quality(output_quality)
    with about(source):
        file = as_container(read_input(source), max_pixels)
        # Before seconds are spent on loading the network:
        size = file.header.height, file.header.width
        box = aligned(box_of(crop, *size), divisor, *size)
        width, height = -(-box.width // divisor), -(-box.height // divisor)
        writer.check(width, height, file.section("alpha") is not None)
        entry = weights.of(file.header)
    text = f"decoding {source} with {entry.name}"
    with bar(text, quiet or as_json) as progress:
        codec = loaded(entry, device)
        with about(source):
            picture = codec.decode(file, crop=crop, scale=divisor, progress=progress)
            image = writer.write(picture.to_image(), output_quality)
    write_output(target, image, attributes, force)
    facts = facts_of(source, target, entry.name, file, started)
    facts |= {"width": width, "height": height, "bytes": len(image)}
    del facts["bpp"]  # of the .tic, not of the image
    line = f"{source} → {target}: {facts['width']}×{facts['height']}, {facts['seconds']:.1f} s"
    report(facts, line, as_json, quiet)


def divisor_of(scale: str | None) -> int:
    """How many times smaller a picture is to be, each way: 2 of "1/2".

    Raises UsageError when it cannot be.
    """
    if scale is None:
        return 1
    divisors = {f"1/{divisor}": divisor for divisor in SCALES[1:]}
    if scale not in divisors:
        raise UsageError(f"`scale` must be 1/2, 1/4 or 1/8, not {scale!r}")
    return divisors[scale]
