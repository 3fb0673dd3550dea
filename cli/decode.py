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
from ticodec.writers import DEFAULT, suffixes, writer_of

from .help_pages import PART, examples
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

EXAMPLES = examples(
    ("Make photo.png.", "ticodec decode photo.tic"),
    ("Make a JPEG: the suffix chooses the format.", "ticodec decode photo.tic copy.jpg"),
    (
        "Decode 512×512 pixels, from column 800 and row 600 on.",
        "ticodec decode photo.tic part.png --crop 800 600 512 512",
    ),
    ("Make a small picture.", "ticodec decode photo.tic small.png --scale 1/8"),
)


def decode(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="The .tic file, or - for standard input.")
    ],
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="OUT",
            help="The image file, whose suffix chooses the format, a folder for it, or - for "
            "standard output. \\[default: IN with the suffix .png]",
        ),
    ] = None,
    crop: Annotated[
        tuple[int, int, int, int] | None,
        typer.Option(
            "--crop",
            metavar="X Y W H",
            help="Decode only W×H pixels, from column X and row Y on. That takes less time.",
            rich_help_panel=PART,
        ),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(
            "--scale",
            metavar="1/N",
            help="Decode at 1/2, 1/4 or 1/8 of the width and height. That takes less time.",
            rich_help_panel=PART,
        ),
    ] = None,
    format: Format = None,
    output_quality: OutputQuality = None,
    force: Force = False,
    preserve_times: PreserveTimes = False,
    device: Device = "auto",
    memory: Memory = None,
    max_pixels: MaxPixels = MAX_PIXELS,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Decode a .tic file into a PNG, WebP, JPEG, AVIF or TIFF file."""
    from ticodec.api import loaded

    started = time.perf_counter()
    divisor = divisor_of(scale)
    usual = writer_of(format or DEFAULT)
    others = usual.suffixes if format else suffixes()
    check_input(source, "decode", wanted="tic")
    target = output_for(source, target, usual.suffixes[0], force, others, "decode")
    attributes = attributes_of(source, target, preserve_times)
    writer = usual if target == STANDARD else writer_of(target.rpartition(".")[2])
    writer.checked_quality(output_quality)
    with about(source):
        file = as_container(read_input(source), max_pixels)
        # All checks come before the network is loaded, which takes seconds.
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
    del facts["bpp"]  # that of the .tic file, not of the image
    line = f"{source} → {target}: {facts['width']}×{facts['height']}, {facts['seconds']:.1f} s"
    report(facts, line, as_json, quiet)


def divisor_of(scale: str | None) -> int:
    """By how much width and height are divided: 2 for "1/2", 1 for None.

    Raises UsageError for any other text.
    """
    if scale is None:
        return 1
    divisors = {f"1/{divisor}": divisor for divisor in SCALES[1:]}
    if scale not in divisors:
        meant = {form: name for name, n in divisors.items() for form in (f"{n}", f"{1 / n}")}
        hint = f"; write {meant[scale]}" if scale in meant else ""
        raise UsageError(f"`scale` must be 1/2, 1/4 or 1/8, not {scale!r}{hint}")
    return divisors[scale]
