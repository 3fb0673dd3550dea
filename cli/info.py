"""`ticodec info`: what is in a `.tic` file. Imports no torch."""

from __future__ import annotations

from typing import Annotated

import typer

from ticodec.container import MAX_PIXELS

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

    check_input(source)
    with about(source):
        facts = facts_of(read_input(source), max_pixels=max_pixels)
    if as_json:
        print_json(facts)
        return
    from rich.table import Column, Table
    from rich.text import Text

    from ticodec.shown import shown

    from .tables import print_table

    table = Table("", Column(overflow="fold"), title=Text(shown(source)), show_header=False)
    sections = facts.pop("sections")
    quality = facts["quality"]
    facts["quality"] = "fixed" if quality is None else f"{quality:g}"
    facts["sections"] = ", ".join(f"{s['type']} {s['bytes']:,} bytes" for s in sections)
    for name, value in facts.items():
        text = f"{value:,}" if name == "bytes" else str(value)
        table.add_row(name.replace("_", " "), Text(shown(text)))
    print_table(table)
