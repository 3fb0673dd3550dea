"""Hints for a wrong use of the command line, behind the message that says what is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

#: A word like -dash.jpg. Not -q4.5.
FILE = re.compile(r"-[^-].*\.[A-Za-z]\w*")
#: What typer says when there are more words than a command takes.
TOO_MANY = "unexpected extra argument"


def with_hints(message: str, command: str, words: Iterable[str]) -> str:
    """typer's message with what would be right, if that can be guessed, and which help to see.

    Args:
        command: such as "ticodec encode". words: all that were given.
    """
    hints = [message.rstrip(".")]
    name = next((word for word in words if _is_file(word)), None)
    if name is not None:
        hints.append(f"if {name} is a file, write ./{name}")
    elif TOO_MANY in message and command in ("ticodec encode", "ticodec decode"):
        hints.append(f"for many files: `{command.replace(' ', ' batch ')}`")
    return f"{'; '.join(hints)} (see {command} --help)"


def command_of(words: Iterable[str], group: Any) -> str:
    """The command that is meant, such as "ticodec batch encode".

    Args:
        words: all that were given. group: typer's command, with those below it.
    """
    command = "ticodec"
    for word in words:
        group = getattr(group, "commands", {}).get(word)
        if group is None:
            break
        command += f" {word}"
    return command


def _is_file(word: str) -> bool:
    """Whether a word begins with a dash, but seems to be a file and no option."""
    if not word.startswith("-") or word == "-":
        return False
    try:
        return FILE.fullmatch(word) is not None or Path(word).is_file()
    except (OSError, ValueError):  # no name of a file
        return False
