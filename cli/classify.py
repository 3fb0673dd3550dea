"""`ticodec classify`: what is in `.tic` files, named from their latents."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticodec.container import MAX_PIXELS, Container, is_tic
from ticodec.errors import BadInputError, TicodecError, UsageError
from ticodec.inputs import as_container
from ticodec.progress import ENCODING, part
from ticodec.shown import shown
from ticodec.weights import read_head

from .help_pages import LABELS, QUALITY, SCRIPTS, examples
from .input_output import about, check_input, read_input
from .output import Device, Head, Json, MaxPixels, Memory, print_json
from .progress_bar import bar
from .tables import print_table

if TYPE_CHECKING:
    from ticodec.classifier import Label

#: How many labels are shown for a single file, and how many per file for several.
TOP_ONE, TOP_MANY = 5, 1
#: A classifier with fewer classes than this cannot name most photos. A note says so.
FEW = 100

EXAMPLES = examples(
    ("Show the five most probable labels of a file.", "ticodec classify photo.tic"),
    ("Name what is in several photos and files.", "ticodec classify photo.tic holiday.jpg --top 2"),
    (
        "Use a classifier of your own classes, see `ticodec train --help`.",
        "ticodec classify photo.jpg --weights mine/tic-lite-head.safetensors",
    ),
)


def classify(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="FILE", help=".tic files, photos, or - for standard input."),
    ],
    top: Annotated[
        int | None,
        typer.Option(
            "--top",
            min=1,
            metavar="N",
            help="How many labels to show per file. \\[default: 5 for one file, 1 for several]",
            rich_help_panel=LABELS,
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            metavar="FILE",
            help="Your own names for the classes: a text file with one name per line.",
            rich_help_panel=LABELS,
        ),
    ] = None,
    head: Head = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="NAME",
            help="Model that encodes photos. "
            "\\[default: the one whose files --weights reads, else the default model]",
            rich_help_panel=QUALITY,
        ),
    ] = None,
    quality: Annotated[
        float | None,
        typer.Option(
            "--quality",
            "-q",
            metavar="Q",
            help="Quality at which photos are encoded, 1 to 8. \\[default: 4]",
            rich_help_panel=QUALITY,
        ),
    ] = None,
    device: Device = "auto",
    memory: Memory = None,
    max_pixels: MaxPixels = MAX_PIXELS,
    as_json: Json = False,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", help="Print nothing but labels and errors.", rich_help_panel=SCRIPTS
        ),
    ] = False,
) -> None:
    """Name what is in .tic files, from their latents: no pixels are decoded.

    The classifiers that ship with ticodec know only ten classes. They answer with the most similar
    one, whatever the picture shows. `ticodec train --head` trains a classifier of your own classes.

    Photos are encoded in memory first, with --model and at --quality.
    """
    from ticodec import api

    names = None if labels is None else _names(labels)
    if head is not None:
        read_head(head, None)  # refuses a file that is no classifier, before any photo is read
    count = top or (TOP_ONE if len(sources) == 1 else TOP_MANY)
    rows: list[dict[str, Any]] = []
    known: tuple[str, ...] = ()
    failed: list[TicodecError] = []
    hidden = quiet or as_json
    for source in sources:
        try:
            with bar(f"classifying {source}", hidden) as progress, about(source):
                check_input(source, "classify")
                data = _read(source, max_pixels)
                is_coded = isinstance(data, Container)
                if is_coded and len(sources) == 1 and (model is not None or quality is not None):
                    raise UsageError(
                        "it is a .tic file already; leave out -m and -q, which are for photos"
                    )
                encoding = part(progress, 0, ENCODING)
                file, codec = api.coded(data, quality, model, head, device, max_pixels, encoding)
                rest = part(progress, 0 if is_coded else ENCODING, 1)
                best = codec.classify(file, count, head, progress=rest)
                name = codec.entry.name
                known = known or codec.classifier(head).labels
                called = [_called(label, names) for label in best]
        except UsageError:
            raise
        except TicodecError as error:
            failed.append(error)
            continue
        pairs = zip(called, best, strict=True)
        answers = [{"label": text, "probability": label.probability} for text, label in pairs]
        rows.append({"input": source, "model": name, "labels": answers})
    if as_json:
        print_json(rows)
    elif len(sources) == 1:
        for answer in rows[0]["labels"] if rows else []:
            print(f"{answer['probability']:7.1%}  {shown(answer['label'])}")
    elif rows:
        _table(rows)
    if head is None and not hidden and on_terminal() and (note := note_on_few(names or known)):
        print(shown(f"ticodec: note: {note}"), file=sys.stderr)
    if failed and not rows:
        raise type(failed[0])("; ".join(map(str, failed)))
    if failed:
        raise TicodecError(
            f"{len(failed)} of {len(sources)} files not classified: {'; '.join(map(str, failed))}"
        )


def _read(source: str, max_pixels: int) -> Container | bytes:
    """A parsed `.tic` file, or the bytes of any other file."""
    data = read_input(source)
    if source.lower().endswith(".tic") or is_tic(data):
        return as_container(data, max_pixels)
    return data


def _names(path: Path) -> list[str]:
    """The names in a file, one per line."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: labels cannot be read: {error}") from error
    names = [line for line in lines if line]
    if not names:
        raise BadInputError(f"{path}: no labels in it; write one per line")
    return names


def _called(label: Label, names: list[str] | None) -> str:
    """The name to show for a label: the user's if `--labels` gives one."""
    if names is None:
        return label.label
    if len(names) != label.classes:
        raise UsageError(
            f"--labels has {len(names)} names, but the classifier has {label.classes} classes; "
            "write one per line, in the order of its folders"
        )
    return names[label.number]


def on_terminal() -> bool:
    """Whether people see at once what is printed on stderr."""
    return sys.stderr.isatty()


def note_on_few(labels: Sequence[str]) -> str:
    """A note that a classifier with these labels has few classes, or "" if it has enough or none.

    A user's own labels are as many as the classifier has.
    """
    if not 0 < len(labels) < FEW:
        return ""
    only = f"the classifier has only {len(labels)} classes and answers with the most similar of "
    return f"{only}them: {', '.join(labels)}"


def _table(rows: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.table import Column, Table
    from rich.text import Text

    names = (Column("file", overflow="fold"), Column("label", overflow="fold"))
    table = Table(*names, Column("probability", justify="right"), box=box.SIMPLE_HEAD)
    for row in rows:
        for number, answer in enumerate(row["labels"]):
            name = Text(shown(row["input"]) if number == 0 else "")
            table.add_row(name, Text(shown(answer["label"])), f"{answer['probability']:.1%}")
    print_table(table)
