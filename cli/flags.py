"""The flag of each library argument, for messages: the one place where the two meet."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from ticodec.errors import TicodecError

#: Arguments whose flag has another name. The flags of those in `SAME` have the same name.
FLAGS = {
    "head": "--weights",
    "model": "-m",
    "nearest": "--force",
    "output": "OUT",
    "quality": "-q",
    "replace": "-f",
}
SAME = (
    "address",
    "allow_truncated",
    "classifier",
    "crop",
    "default",
    "device",
    "effort",
    "force",
    "format",
    "fresh",
    "init",
    "jobs",
    "max_pixels",
    "memory",
    "name",
    "output_quality",
    "scale",
    "step",
    "top",
)
FLAGS |= {name: f"--{name.replace('_', '-')}" for name in SAME}


#: An argument in a message: a word in backticks that is no part of a longer name or path.
ARGUMENT = re.compile(r"(?<![^\s(])`(\w+)`(?=[,;:.?!)]*(\s|$))")


def with_flags(message: str, flags: Mapping[str, str] = FLAGS, names: Iterable[str] = ()) -> str:
    """A message of the library, its arguments (in backticks) replaced by the flags of commands.

    "raise `max_pixels`" becomes "raise --max-pixels". Other words in backticks stay.

    Args:
        names: of files, or whatever the user typed. Words that have backticks in them stay.
    """
    kept = " ".join(names)

    def replaced(match: re.Match[str]) -> str:
        return match[0] if match[0] in kept else flags.get(match[1], match[0])

    return ARGUMENT.sub(replaced, message)


@contextmanager
def flags_named(flags: Mapping[str, str]) -> Iterator[None]:
    """Let errors name the flags of one command whose arguments have other flags than elsewhere.

    Arguments that `flags` lacks are replaced later, as in every command.
    """
    try:
        yield
    except TicodecError as error:
        raise type(error)(with_flags(str(error), flags, sys.argv[1:])) from error
