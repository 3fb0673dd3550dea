"""Puts flags such as `--max-pixels` into messages of the library, which name its arguments.

This is the only place that knows which flag an argument of the library has.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from ticodec.errors import TicodecError

#: Arguments whose flag has another name. `SAME` lists arguments whose flag has the same name.
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


#: An argument in a message: a word in backticks that is not part of a longer name or path.
ARGUMENT = re.compile(r"(?<![^\s(])`(\w+)`(?=[,;:.?!)]*(\s|$))")


def with_flags(message: str, flags: Mapping[str, str] = FLAGS, names: Iterable[str] = ()) -> str:
    """A message of the library, with flags in place of arguments in backticks.

    "raise `max_pixels`" becomes "raise --max-pixels". Other words in backticks stay.

    Args:
        message: what the library says.
        flags: the flag of each argument.
        names: file names, or all words that the user typed. A word in backticks that occurs in one
            of them stays too.
    """
    kept = " ".join(names)

    def replaced(match: re.Match[str]) -> str:
        return match[0] if match[0] in kept else flags.get(match[1], match[0])

    return ARGUMENT.sub(replaced, message)


@contextmanager
def flags_named(flags: Mapping[str, str]) -> Iterator[None]:
    """Let errors name the flags of one command, where they differ from those of other commands.

    Arguments that are not in `flags` are replaced later, as for every command.
    """
    try:
        yield
    except TicodecError as error:
        raise type(error)(with_flags(str(error), flags, sys.argv[1:])) from error
