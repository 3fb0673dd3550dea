"""The progress of coding a picture: the share that is done, 0 … 1, which each stage reports.

encode:   g_a, h_a ──────── 0.8 ─► coding ─ 1
decode:   latents ─ 0.2 ─► g_s ──────────── 1     g_s has a smaller share if only a part is decoded

The transforms report after every band. Coding and decoding of latents report only at their end. At
effort 2 … 9 latents are refined after g_a, which takes most of the 0.8.
"""

from __future__ import annotations

from collections.abc import Callable

#: Called with the share that is done, 0 … 1. The share never decreases.
Progress = Callable[[float], None]
#: The share of the transforms in encoding or decoding. Entropy coding has the rest.
TRANSFORMS = 0.8
#: The share of g_a in `TRANSFORMS`, if latents are refined.
FEATURES = 0.1
#: The share of encoding, if an image is encoded and then classified.
ENCODING = 0.8


def ignored(share: float) -> None:
    """Ignore the progress. Stages call this if their caller wants no reports."""


def part(progress: Progress | None, start: float, end: float) -> Progress:
    """Make the function to which a stage reports its own share, 0 … 1.

    Args:
        progress: gets the share of the whole, or is None.
        start, end: where the stage begins and ends in the whole, 0 … 1.
    """
    if progress is None:
        return ignored
    return lambda share: progress(start + (end - start) * share)
