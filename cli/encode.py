"""`ticodec encode`: an image file to a `.tic` file."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from ticodec.container import MAX_PIXELS
from ticodec.effort import USUAL_EFFORT, checked_effort

from .help_pages import OUTPUT, QUALITY, examples
from .input_output import about, attributes_of, check_input, output_for, read_input, write_output
from .output import (
    AllowTruncated,
    Device,
    Json,
    MaxPixels,
    Memory,
    Model,
    PreserveTimes,
    Quiet,
    Strip,
    StripLocation,
    facts_of,
    listed,
    print_notes,
    report,
)
from .progress_bar import bar
from .targets import (
    Effort,
    TargetBpp,
    TargetMsSsim,
    TargetPsnr,
    TargetSize,
    facts_of_target,
    quality_of,
    said_of_target,
)

EXAMPLES = examples(
    ("Make photo.tic at the usual quality.", "ticodec encode photo.jpg"),
    ("Make a smaller file, with another name.", "ticodec encode photo.jpg small.tic -q 2"),
    (
        "Make a file of at most 50,000 bytes.",
        "ticodec encode photo.jpg sized.tic --target-size 50k",
    ),
    ("Take more time for a better picture.", "ticodec encode photo.jpg best.tic --effort 5"),
)


def encode(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="The photo, or - for standard input.")
    ],
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="OUT",
            help="The .tic file, a folder for it, or - for standard output. "
            "\\[default: IN with the suffix .tic]",
        ),
    ] = None,
    quality: Annotated[
        float | None,
        typer.Option(
            "--quality",
            "-q",
            metavar="Q",
            help="1 (smallest file) to 8 (best picture), e.g. 4.5. \\[default: 4]",
            rich_help_panel=QUALITY,
        ),
    ] = None,
    target_size: TargetSize = None,
    target_bpp: TargetBpp = None,
    target_psnr: TargetPsnr = None,
    target_ms_ssim: TargetMsSsim = None,
    effort: Effort = USUAL_EFFORT,
    model: Model = None,
    allow_truncated: AllowTruncated = False,
    strip: Strip = False,
    strip_location: StripLocation = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            "-f",
            help="Overwrite OUT if it exists. If a target is out of reach, write the file that "
            "comes nearest.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    preserve_times: PreserveTimes = False,
    device: Device = "auto",
    memory: Memory = None,
    max_pixels: MaxPixels = MAX_PIXELS,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Encode a photo into a small .tic file.

    The file is lossy, as JPEG is: the picture that comes back is close to the photo, not equal.
    """
    from ticodec import container, weights
    from ticodec.api import loaded, room_for
    from ticodec.inputs import check_device
    from ticodec.quality import check_quality
    from ticodec.reading.options import Reading
    from ticodec.reading.read import read_picture
    from ticodec.targets import Target

    started = time.perf_counter()
    check_device(device)
    entry = weights.find(model)
    asked = quality_of(quality, target_size, target_bpp, target_psnr, target_ms_ssim, force)
    check_quality(entry, asked)  # before seconds are spent on loading the network
    effort = checked_effort(effort)
    check_input(source, "encode", wanted="image")
    target = output_for(source, target, ".tic", force, batch="encode")
    attributes = attributes_of(source, target, preserve_times)
    with about(source):
        data = read_input(source)
    reading = Reading(strip, strip_location, allow_truncated)
    with bar(f"encoding {source} with {entry.name}", quiet or as_json) as progress:
        with about(source):
            check = room_for(entry, device, effort=effort)
            picture = read_picture(data, max_pixels, check, reading)
        codec = loaded(entry, device)
        with about(source):
            reached = None
            if isinstance(asked, Target):
                from ticodec.rate_control import reach  # imports torch

                reached = reach(codec, picture, asked, effort, progress)
                file = reached.container
            else:
                (file,) = codec.containers([picture], asked, effort, progress)
        coded = container.write(file)
    write_output(target, coded, attributes, force)
    notes = picture.notes_with(len(coded))
    print_notes(source, notes, quiet or as_json)
    facts = facts_of(source, target, entry.name, file, started) | {
        "effort": effort,
        "notes": listed(notes),
    }
    said: list[str] = []
    if reached is not None:
        facts |= facts_of_target(reached)
        said = [said_of_target(reached)]
    elif facts["quality"] is not None:  # it is None for weights of one fixed λ
        said = [f"quality {facts['quality']:g}"]
    if effort != USUAL_EFFORT:
        said.append(f"effort {effort}")
    words = "".join(f"{text}, " for text in said)
    line = (
        f"{source} → {target}: {facts['width']}×{facts['height']}, {len(data):,} → "
        f"{len(coded):,} bytes, {facts['bpp']:.3f} bpp, {words}{facts['seconds']:.1f} s"
    )
    report(facts, line, as_json, quiet)
