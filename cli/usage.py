"""Hints that follow the message about a wrong use of the command line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

#: Matches a file name that begins with a dash, such as -dash.jpg, but not an option such as -q4.5.
FILE = re.compile(r"-[^-].*\.[A-Za-z]\w*")
#: What typer says when there are more words than a command takes.
TOO_MANY = "unexpected extra argument"
#: What typer says when a word is not a command.
NO_COMMAND = "No such command"
#: Parts of typer's messages: the command has no option `-q`, or the quality after `-q` is missing
#: or wrong.
NO_Q, WRONG_Q = "No such option: -q", "'-q'"
#: Patterns of what typer says about wrong values, and plainer words for each.
PLAIN = {
    r"Input should be a valid number\b.*": "it must be a number",
    r"Input should be a valid integer\b.*": "it must be a whole number",
    r"Input should be greater than or equal to": "it must be at least",
    r"Input should be less than or equal to": "it must be at most",
    r"Value error, ": "",
}


def with_hints(message: str, command: str, words: Iterable[str]) -> str:
    """Add hints to typer's message: what is probably meant, and which help page to read.

    Args:
        message: what typer says.
        command: such as "ticodec encode".
        words: all words of the command line.
    """
    for pattern, plain in PLAIN.items():
        message = re.sub(pattern, plain, message)
    hints = [message.rstrip(".")]
    name = next((word for word in words if _is_file(word)), None)
    if name is not None:
        hints.append(f"if {name} is a file, write ./{name}")
    elif TOO_MANY in message and command in ("ticodec encode", "ticodec decode"):
        hints.append(f"for many files: `{command.replace(' ', ' batch ')}`")
    if NO_COMMAND in message and command == "ticodec batch":
        hints.append("write encode, decode or classify first: `ticodec batch encode PHOTOS SMALL`")
    if NO_Q in message and command.endswith("decode"):
        hints.append("write --quiet to print less, or --output-quality for a lossy image format")
    elif WRONG_Q in message:
        hints.append("-q is the quality, such as -q 5; write --quiet to print less")
    return f"{'; '.join(hints)} (see {command} --help)"


def command_of(words: Iterable[str], group: Any) -> str:
    """The command that is meant, such as "ticodec batch encode".

    Args:
        words: all words of the command line.
        group: typer's object for `ticodec`, which holds all commands.
    """
    command = "ticodec"
    for word in words:
        group = getattr(group, "commands", {}).get(word)
        if group is None:
            break
        command += f" {word}"
    return command


def _is_file(word: str) -> bool:
    """Whether a word that begins with a dash seems to be a file, not an option."""
    if not word.startswith("-") or word == "-":
        return False
    try:
        return FILE.fullmatch(word) is not None or Path(word).is_file()
    except (OSError, ValueError):  # not a possible name
        return False
