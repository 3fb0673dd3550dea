"""What all help pages share: names of groups of options, examples, and how flags are shown."""

from __future__ import annotations

import inspect
from typing import Any

from typer.core import TyperCommand, TyperGroup

#: The groups of options.
DATA = "Data and crops"
NETWORK = "Network"
CLASSIFIER = "Classifier"
LEARNING = "Learning"
ICAT = "Only for icat"
END = "When it ends"
LABELS = "Labels"
QUALITY = "Quality and size"
COMPARISON = "Comparison"
PART = "Part and size of the picture"
INPUT = "Input"
METADATA = "Metadata"
OUTPUT = "Output"
RUN = "Run"
MACHINE = "Machine"
RAY = "Ray cluster"
SCRIPTS = "Scripts and help"
#: The order in which a help page shows those groups that it has.
ORDER = (
    *(DATA, NETWORK, CLASSIFIER, LEARNING, ICAT, END, LABELS, QUALITY, COMPARISON, PART),
    *(INPUT, METADATA, OUTPUT, RUN, MACHINE, RAY, SCRIPTS),
)


def examples(*pairs: tuple[str, str]) -> str:
    """The examples at the end of a help page. Each command line is on a line of its own.

    Args:
        pairs: for each example, one sentence that says what the command line does, and the command
            line. It has at most 76 characters, so that it fits into a terminal of 80 columns.
    """
    lines = ["[bold]Examples[/bold]"]
    for what, command in pairs:
        lines += [f"[dim]{_plain(what)}[/dim]", f"  {_plain(command)}"]
    return "\n".join(lines)


def example_lines(epilog: str) -> list[str]:
    """The command lines in the text that `examples` made."""
    lines = [line.strip().replace("\\[", "[") for line in epilog.splitlines()]
    return [line for line in lines if line.startswith("ticodec ")]


def _plain(text: str) -> str:
    """Text that Rich shows as it is written."""
    return text.replace("[", "\\[")


class Command(TyperCommand):
    """A command. Its help shows groups in their order, and no types beside flags and arguments."""

    def __init__(self, name: str | None, *, help: str | None = None, **options: Any) -> None:
        super().__init__(name, help=_unfolded(help), **options)

    def get_params(self, ctx: Any) -> list[Any]:
        return sorted(map(_without_type, super().get_params(ctx)), key=_place)

    def get_help_option(self, ctx: Any) -> Any:
        option: Any = super().get_help_option(ctx)
        if option is not None:
            option.rich_help_panel = SCRIPTS
        return option


class Group(TyperGroup):
    """Commands below a name. Its help shows no types beside flags."""

    def get_params(self, ctx: Any) -> list[Any]:
        return [_without_type(parameter) for parameter in super().get_params(ctx)]


def _unfolded(text: str | None) -> str | None:
    """A docstring whose paragraphs are one line each, which typer breaks to fit the terminal."""
    if text is None:
        return None
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _without_type(parameter: Any) -> Any:
    """The parameter, whose help page does not show `<bool>` for a flag or `<str>` for a file."""
    if parameter.param_type_name == "argument":
        parameter.display_type_rich = lambda ctx: None
    elif getattr(parameter, "is_flag", False) and parameter.metavar is None:
        parameter.metavar = ""
    return parameter


def _place(parameter: Any) -> int:
    """Where a command's help shows a parameter: arguments first, then the groups of options."""
    group = getattr(parameter, "rich_help_panel", None)
    return ORDER.index(group) if group in ORDER else -1
