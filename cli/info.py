"""`ticodec info`: what is in a `.tic` file. Imports no torch."""

from __future__ import annotations

import os
from typing import Annotated, cast

import typer

from ticodec.container import MAX_PIXELS, Container
from ticodec.effort import USUAL_EFFORT
from ticodec.targets import Measure, Target

from .help_pages import examples
from .input_output import about, check_input, read_input
from .output import Json, MaxPixels, print_json

EXAMPLES = examples(
    ("Show size, quality, model and sections of a file.", "ticodec info photo.tic"),
    ("Print the same for a script.", "ticodec info photo.tic --json"),
)


def info(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="The .tic file, or - for standard input.")
    ],
    max_pixels: MaxPixels = MAX_PIXELS,
    as_json: Json = False,
) -> None:
    """Show what a .tic file holds, and check its checksums. Nothing is decoded."""
    from ticodec.facts import info as facts_of
    from ticodec.inputs import as_container

    check_input(source)
    with about(source):
        file = as_container(read_input(source), max_pixels)
        facts = facts_of(file)
    origin = file.section("origin")
    if as_json:
        print_json(facts if origin is None else facts | {"origin": os.fsdecode(origin)})
        return
    from rich.table import Column, Table
    from rich.text import Text

    from ticodec.shown import shown

    from .tables import print_table

    table = Table("", Column(overflow="fold"), title=Text(shown(source)), show_header=False)
    sections = facts.pop("sections")
    quality = facts["quality"]
    facts["quality"] = "fixed" if quality is None else f"{quality:g}"
    facts["weights"] = _weights(facts["weights"], facts.pop("weights_name"))
    facts["sections"] = ", ".join(f"{s['type']} {s['bytes']:,} bytes" for s in sections)
    if origin is not None:
        facts["origin"] = _made_from(file)
    for name, value in facts.items():
        text = f"{value:,}" if name == "bytes" else str(value)
        table.add_row(name.replace("_", " "), Text(shown(text)))
    print_table(table)


def _weights(fingerprint: str, name: str | None) -> str:
    """The weights of a file in words. `name` is None if they are not installed."""
    return f"{fingerprint}, not installed" if name is None else f"{name} ({fingerprint})"


def _made_from(file: Container) -> str:
    """In words, what a file says about the photo that it was made from."""
    from ticodec.batch.provenance import origin_of

    origin = origin_of(file)
    if origin is None:
        return "not readable by this version"
    photo = f"a {origin.suffix}" if origin.suffix else "a file without suffix"
    words = [f"made by `ticodec batch encode` from {photo} of {origin.size:,} bytes"]
    if origin.target:
        words.append(f"target {_in_words(origin.target)}")
    if origin.effort != USUAL_EFFORT:
        words.append(f"effort {origin.effort}")
    if origin.left_out:
        words.append(f"{origin.left_out} left out as asked")
    if origin.deleted:
        words.append("the photo was to be deleted")
    return ", ".join(words)


def _in_words(target: str) -> str:
    """A target as messages name it: "35 dB PSNR" for "psnr=35". Unknown text stays as it is."""
    measure, _, value = target.partition("=")
    try:
        return str(Target(cast(Measure, measure), float(value)))
    except ValueError:  # a later version may know other targets
        return target
