"""How far the codec is with a picture: the share done, 0 … 1, as its stages report it.

encode:   g_a, h_a ──────── 0.8 ─► coding ─ 1
decode:   latents ─ 0.2 ─► g_s ──────────── 1     of a part less is g_s

The transforms report every band, coding and decoding of latents their end only. At effort 2 … 9
latents are refined after g_a, and that takes most of the 0.8.
"""

from __future__ import annotations

from collections.abc import Callable

#: Called with the share that is done, 0 … 1; never with less than before.
Progress = Callable[[float], None]
#: The part of encoding or decoding that the transforms take; the exact path takes the rest.
TRANSFORMS = 0.8
#: The part of `TRANSFORMS` that g_a takes where latents are refined.
FEATURES = 0.1
#: The part of encoding an image, where it is classified then.
ENCODING = 0.8


def ignored(share: float) -> None:
    """What stages report to when nobody wants to know."""


def part(progress: Progress | None, start: float, end: float) -> Progress:
    """What a stage reports its own share to, 0 … 1: that is `start` … `end` of the whole."""
    if progress is None:
        return ignored
    return lambda share: progress(start + (end - start) * share)
