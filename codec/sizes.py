"""Sizes as people write them: "2GiB", "1500MB", "200k"."""

from __future__ import annotations

import re

LETTERS = "KMGT"


def bytes_in(text: str, letter: int) -> float | None:
    """The bytes that a size means; None: it is no size.

    Args:
        text: a number with B; KiB … TiB, 1024 each; KB … TB, 1000 each; or K … T alone, in
            capitals or not.
        letter: what each of K … T alone means, 1000 or 1024.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*", text)
    units = {"b": 1}
    for power, name in enumerate(LETTERS.lower(), 1):
        units |= {name: letter**power, f"{name}ib": 1024**power, f"{name}b": 1000**power}
    if match is None or match[2].lower() not in units:
        return None
    return float(match[1]) * units[match[2].lower()]
