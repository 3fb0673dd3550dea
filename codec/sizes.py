"""Reads sizes as people write them: "2GiB", "1500MB", "200k"."""

from __future__ import annotations

import re


def bytes_in(text: str, letter: int) -> float | None:
    """Convert a size to bytes. Returns None if the text is not a size.

    Args:
        text: a number and a unit, in capital or small letters. The unit is B, or KiB, MiB, GiB or
            TiB (powers of 1024), or KB, MB, GB or TB (powers of 1000), or K, M, G or T (powers of
            `letter`).
        letter: 1000 or 1024.
    """
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([A-Za-z]+)\s*", text)
    units = {"b": 1}
    for power, name in enumerate("kmgt", 1):
        units |= {name: letter**power, f"{name}ib": 1024**power, f"{name}b": 1000**power}
    if match is None or match[2].lower() not in units:
        return None
    return float(match[1]) * units[match[2].lower()]
