"""What `evaluate` and `compare` share: lists of codecs, qualities and efforts, bars and tables."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated

import typer

from ticodec.errors import UsageError
from ticodec.evaluation.peers import PEERS, USUAL
from ticodec.shown import shown

from .help_pages import COMPARISON, QUALITY
from .tables import print_table

if TYPE_CHECKING:
    from ticodec.evaluation.measure import Progress
    from ticodec.evaluation.registry import CoderSpec
    from ticodec.evaluation.report_tables import Table

#: Cells with more characters are broken into lines.
LONG = 15

Models = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="LIST",
        help="Our models to measure: names from `ticodec models`, separated by commas. "
        "\\[default: the one marked there]",
        rich_help_panel=QUALITY,
    ),
]
Against = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="LIST",
        help=f"Other codecs to measure, separated by commas: {', '.join(PEERS)}; or none. "
        f"\\[default: {','.join(USUAL)}]",
        rich_help_panel=COMPARISON,
    ),
]
Efforts = Annotated[
    str,
    typer.Option(
        "--effort",
        metavar="LIST",
        help="Efforts of our models, 1 to 9, separated by commas. A higher effort takes longer and "
        "makes smaller files. Each effort is measured as a codec of its own.",
        rich_help_panel=QUALITY,
    ),
]


def qualities_of(text: str | None) -> tuple[float, ...] | None:
    """The qualities in a list like "1,2.5,8", sorted and without repeats. Raises UsageError."""
    if text is None:
        return None
    try:
        return tuple(sorted({float(word) for word in _words(text, "--quality")}))
    except ValueError as error:
        raise UsageError(f"--quality takes numbers, separated by commas, not {text!r}") from error


def efforts_of(text: str) -> tuple[int, ...]:
    """The efforts in a list like "1,3,9", sorted and without repeats. Raises UsageError."""
    from ticodec.effort import checked_effort

    try:
        efforts = {int(word) for word in _words(text, "--effort")}
    except ValueError as error:
        raise UsageError(
            f"--effort takes whole numbers, 1 to 9, separated by commas, not {text!r}"
        ) from error
    return tuple(sorted(map(checked_effort, efforts)))


def coder_specs(
    model: str | None,
    qualities: tuple[float, ...] | None,
    efforts: tuple[int, ...],
    against: str | None,
    device: str,
    head: Path | None = None,
) -> list[CoderSpec]:
    """The specs of our own models at each effort, then those of other codecs, all checked.

    Args:
        efforts: 1 … 9, at least one.
        head: a classifier's file. Without `model`, the weights that it reads are taken.

    Raises UsageError if a name is unknown, a quality is out of range, or a codec is not installed.
    """
    from ticodec import weights
    from ticodec.device import pick_device
    from ticodec.evaluation.registry import CoderSpec, make

    pick_device(device)
    names = [weights.find_for(None, head).name] if model is None else _words(model, "--model")
    peers = list(USUAL) if against is None else _words(against, "--against")
    if peers == ["none"]:
        peers = []
    for name in peers:
        if name not in PEERS:
            takes = f"it takes none, or a list of {', '.join(PEERS)}"
            raise UsageError(f"--against has no codec {name!r}; {takes}")
    entries = [weights.find(name) for name in dict.fromkeys(names)]
    # Models of one fixed quality ignore -q if other models in the list take it.
    ranged = any(entry.qualities for entry in entries)
    specs = [
        CoderSpec(
            entry.name,
            True,
            device,
            qualities if entry.qualities or not ranged else None,
            effort=effort,
        )
        for entry in entries
        for effort in efforts
    ]
    specs += [CoderSpec(name) for name in dict.fromkeys(peers)]
    for spec in specs:
        make(spec)
        if spec.ours and spec.name in peers:
            raise UsageError(f"--model and --against both name {spec.name}; leave one out")
    return specs


def _words(text: str, option: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    if not all(words):
        raise UsageError(f"{option} takes a list, separated by commas, not {text!r}")
    return words


@contextmanager
def bars(quiet: bool) -> Iterator[Progress]:
    """Shows a progress bar on stderr, if that is a terminal.

    Yields the function that updates it.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Left

    text = TextColumn("{task.description}", markup=False)
    with Progress(
        BarColumn(), MofNCompleteColumn(), Left(), text, console=Console(stderr=True)
    ) as display:
        task = display.add_task("")
        yield lambda what, done, total: display.update(
            task, description=shown(what), completed=done, total=total
        )


def show_table(table: Table) -> None:
    """Print a table on stdout."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(title=Text(shown(table.title)), box=box.SIMPLE_HEAD, padding=0)
    for number, name in enumerate(table.header):
        text = _in_lines(name, 8)
        drawn.add_column(text, justify="right" if number else "left", no_wrap=True)
    last = None
    for row in table.rows:
        if table.header[0] == "codec" and last not in (None, row[0]):
            drawn.add_section()
        last, *others = map(shown, row)
        drawn.add_row(Text(last), *(Text(_in_lines(cell, LONG)) for cell in others))
    print_table(drawn)


def _in_lines(text: str, width: int) -> str:
    """The words in lines of at most this width. A longer word has a line of its own."""
    return "\n".join(wrap(text, width, break_long_words=False, break_on_hyphens=False)) or text
