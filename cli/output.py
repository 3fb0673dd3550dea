"""Options that several commands share, and what commands print: JSON, lines, a spinner."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from ticodec.container import MAX_PIXELS, Container
from ticodec.facts import info
from ticodec.memory import set_memory
from ticodec.notes import Note
from ticodec.shown import shown
from ticodec.writers import DEFAULT, FORMATS, WRITERS

from .help_pages import INPUT, LABELS, MACHINE, METADATA, OUTPUT, QUALITY, SCRIPTS

Json = Annotated[
    bool,
    typer.Option("--json", help="Print the result as JSON, for scripts.", rich_help_panel=SCRIPTS),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", help="Print nothing but errors.", rich_help_panel=SCRIPTS)
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="NAME",
        help="The network that encodes: a name from `ticodec models`. "
        "\\[default: the one marked there]",
        rich_help_panel=QUALITY,
    ),
]
Force = Annotated[
    bool,
    typer.Option("--force", "-f", help="Overwrite OUT if it exists.", rich_help_panel=OUTPUT),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        help="Where networks run: cpu, cuda, cuda:1 for the second GPU, or auto, which takes a GPU "
        "if there is one.",
        rich_help_panel=MACHINE,
    ),
]
MaxPixels = Annotated[
    int,
    typer.Option(
        "--max-pixels",
        min=1,
        metavar="N",
        help=f"Refuse images of more than N pixels. \\[default: {MAX_PIXELS:,}]",
        show_default=False,
        rich_help_panel=MACHINE,
    ),
]


def _limit(context: typer.Context, size: str | None) -> str | None:
    """Let this process use at most the memory that `--memory` gives. Raises UsageError."""
    if size is not None and not context.resilient_parsing:  # that is while a shell completes words
        set_memory(size)
    return size


#: The limit is set while the command line is read: commands need not look at this option.
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="SIZE",
        callback=_limit,
        help="Use at most this much memory, e.g. 2GiB or 1500MB. "
        "\\[default: $TICODEC_MEMORY, or what is free]",
        rich_help_panel=MACHINE,
    ),
]
Head = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="FILE",
        help="Use this classifier, a file that `ticodec export` wrote.",
        rich_help_panel=LABELS,
    ),
]
Strip = Annotated[
    bool,
    typer.Option(
        "--strip",
        help="Leave out all metadata. Colours are converted to sRGB.",
        rich_help_panel=METADATA,
    ),
]
StripLocation = Annotated[
    bool,
    typer.Option(
        "--strip-location",
        help="Leave out where the photo was taken.",
        rich_help_panel=METADATA,
    ),
]
AllowTruncated = Annotated[
    bool,
    typer.Option(
        "--allow-truncated",
        help="Accept JPEGs whose end is missing. The missing part becomes grey.",
        rich_help_panel=INPUT,
    ),
]
PreserveTimes = Annotated[
    bool,
    typer.Option(
        "--preserve-times",
        help="Give OUT the modification time of IN.",
        rich_help_panel=OUTPUT,
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help=f"Image format: {', '.join(FORMATS)}. \\[default: what OUT ends in, else {DEFAULT}]",
        rich_help_panel=OUTPUT,
    ),
]
EveryFormat = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help=f"Image format: {', '.join(FORMATS)}. \\[default: {DEFAULT}]",
        rich_help_panel=OUTPUT,
    ),
]
_LOSSY = [
    f"{writer.suffixes[0][1:]} {writer.default_quality or 'lossless'}"
    for writer in WRITERS
    if writer.lossy
]
OutputQuality = Annotated[
    int | None,
    typer.Option(
        "--output-quality",
        metavar="N",
        help=f"Quality of a lossy format, 1 to 100. \\[default: {', '.join(_LOSSY)}]",
        rich_help_panel=OUTPUT,
    ),
]


def print_json(value: Any, to_stderr: bool = False) -> None:
    """Print one JSON document."""
    print(json.dumps(value, indent=2), file=sys.stderr if to_stderr else sys.stdout)


@contextmanager
def working(text: str, quiet: bool) -> Iterator[None]:
    """Show a spinner on stderr while the work inside goes on, if stderr is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(shown(text))):
        yield


def print_notes(source: str, notes: Iterable[Note], quiet: bool) -> None:
    """Print the notes on a photo on stderr, one per line."""
    if not quiet:
        for note in notes:
            print(shown(f"ticodec: note: {source}: {note}"), file=sys.stderr)


def listed(notes: Iterable[Note]) -> list[dict[str, str]]:
    """Notes as `--json` prints them."""
    return [{"kind": note.kind, "text": note.text} for note in notes]


def facts_of(
    source: str, target: str, model: str, file: Container, started: float
) -> dict[str, Any]:
    """What `encode --json` prints about a .tic file.

    Args:
        started: what `time.perf_counter` returned when the command began.
    """
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
    """Print the result of a command: on stderr if the output itself goes to stdout.

    Args:
        facts: what `--json` prints.
        line: what is printed without `--json`.
    """
    to_stderr = facts["output"] == "-"
    if as_json:
        print_json(facts, to_stderr)
    elif not quiet:
        print(shown(line), file=sys.stderr if to_stderr else sys.stdout)
