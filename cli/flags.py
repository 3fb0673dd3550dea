"""The flag of each library argument, for messages: the one place where the two meet."""

from __future__ import annotations

import re

#: Flags whose name is not that of the argument. Of any other argument in `SAME` it is the same.
FLAGS = {"head": "--weights", "model": "-m", "output": "OUT", "quality": "-q"}
SAME = ("device", "format", "max_pixels", "output_quality", "top")
FLAGS |= {name: f"--{name.replace('_', '-')}" for name in SAME}


def with_flags(message: str) -> str:
    """A message of the library, its arguments (in backticks) replaced by the flags of commands.

    "raise `max_pixels`" becomes "raise --max-pixels". Other words in backticks stay.
    """
    return re.sub(r"`(\w+)`", lambda match: FLAGS.get(match[1], match[0]), message)
