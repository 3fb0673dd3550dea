"""`ticodec decode`: a `.tic` file to a PNG."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from ticodec.container import MAX_PIXELS

from .input_output import about, output_for, read_input, write_output
from .output import Device, Force, Json, MaxPixels, Quiet, facts_of, report, working


def decode(
    source: Annotated[str, typer.Argument(metavar="IN", help=".tic file; - is stdin.")],
    target: Annotated[
        str | None, typer.Argument(metavar="[OUT]", help="By default IN with .png; - is stdout.")
    ] = None,
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
    max_pixels: MaxPixels = MAX_PIXELS,
) -> None:
    """Decode a .tic file into a PNG."""
    from ticodec import images, weights
    from ticodec.api import loaded
    from ticodec.container import read

    started = time.perf_counter()
    target = output_for(source, target, ".png", force)
    with about(source):
        data = read_input(source)
        header = read(data, max_pixels).header
        entry = weights.find_fingerprint(header.fingerprint, header.model_name)
    with working(f"decoding {source} with {entry.name}", quiet), about(source):
        picture = loaded(entry, device).decode(data, max_pixels)
    png = images.png_bytes(picture.to_image())
    write_output(target, png)
    facts = facts_of(source, target, entry.name, data, started)
    facts["bytes"] = len(png)
    del facts["bpp"]  # of the .tic, not of the PNG
    line = f"{source} → {target}: {facts['width']}×{facts['height']}, {facts['seconds']:.1f} s"
    report(facts, line, as_json, quiet)
