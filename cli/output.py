"""Options that several commands share, and what they print: JSON, lines, a spinner."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from ticodec.container import MAX_PIXELS, Container
from ticodec.facts import info
from ticodec.notes import Note
from ticodec.shown import shown
from ticodec.writers import DEFAULT, FORMATS, WRITERS

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help="A name that `ticodec models` lists. \\[default: the one it marks]"
    ),
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Overwrite the output.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, or cuda:1 of several.")]
MaxPixels = Annotated[
    int,
    typer.Option(
        "--max-pixels",
        min=1,
        help=f"Refuse larger images. \\[default: {MAX_PIXELS:,}]",
        show_default=False,
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="SIZE",
        help="The most to use, e.g. 2GiB or 1500MB. \\[default: $TICODEC_MEMORY, or what is free]",
    ),
]
Strip = Annotated[
    bool, typer.Option("--strip", help="Leave out all metadata; the colours become sRGB.")
]
StripLocation = Annotated[
    bool, typer.Option("--strip-location", help="Leave out where the photo was taken.")
]
AllowTruncated = Annotated[
    bool,
    typer.Option("--allow-truncated", help="Take JPEGs whose end is missing; the rest is grey."),
]
PreserveTimes = Annotated[
    bool, typer.Option("--preserve-times", help="Give OUT the time of IN's last change.")
]
Format = Annotated[
    str | None,
    typer.Option("--format", help=f"{', '.join(FORMATS)}. \\[default: OUT's, or {DEFAULT}]"),
]
EveryFormat = Annotated[
    str | None, typer.Option("--format", help=f"{', '.join(FORMATS)}. \\[default: {DEFAULT}]")
]
_LOSSY = [
    f"{writer.suffixes[0][1:]} {writer.default_quality or 'lossless'}"
    for writer in WRITERS
    if writer.lossy
]
OutputQuality = Annotated[
    int | None,
    typer.Option("--output-quality", help=f"1 … 100. \\[default: {', '.join(_LOSSY)}]"),
]


def print_json(value: Any, to_stderr: bool = False) -> None:
    """One JSON document."""
    print(json.dumps(value, indent=2), file=sys.stderr if to_stderr else sys.stdout)


@contextmanager
def working(text: str, quiet: bool) -> Iterator[None]:
    """A spinner on stderr while something takes time; only on a terminal."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(shown(text))):
        yield


def print_notes(source: str, notes: Iterable[Note], quiet: bool) -> None:
    """Print the notes on a photo on stderr, a line each."""
    if not quiet:
        for note in notes:
            print(shown(f"ticodec: note: {source}: {note}"), file=sys.stderr)


def listed(notes: Iterable[Note]) -> list[dict[str, str]]:
    """Notes as `--json` prints them."""
    return [{"kind": note.kind, "text": note.text} for note in notes]


def facts_of(
    source: str, target: str, model: str, file: Container, started: float
) -> dict[str, Any]:
    """What `encode --json` prints of a .tic file; `started` is a perf_counter time."""
    described = info(file)
    names = ("quality", "width", "height", "bytes", "bpp")
    return {
        "input": source,
        "output": target,
        "model": model,
        **{name: described[name] for name in names},
        "seconds": round(time.perf_counter() - started, 3),
    }


def report(facts: dict[str, Any], line: str, as_json: bool, quiet: bool = False) -> None:
    """The result of a command; to stderr when stdout carries the data itself."""
    to_stderr = facts["output"] == "-"
    if as_json:
        print_json(facts, to_stderr)
    elif not quiet:
        print(shown(line), file=sys.stderr if to_stderr else sys.stdout)
