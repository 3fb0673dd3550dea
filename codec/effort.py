"""Effort: how long the encoder looks for better latents than g_a gives. Imports no torch."""

from __future__ import annotations

from .errors import UsageError
from .inputs import whole

#: The highest effort. The lowest, 1, uses the latents that g_a gives.
MOST = 9
#: The effort if none is given.
USUAL_EFFORT = 1
#: Increase this if effort 2 … 9 give other bytes for the same picture and weights. The key of a
#: stored measurement at these efforts contains it, as well as `codec.ENCODER`.
REFINEMENT = 1
#: Latents are refined in blocks of at most BLOCK × BLOCK positions, to limit the memory.
BLOCK = 48


def checked_effort(effort: int) -> int:
    """Return the effort. Raises UsageError unless it is a whole number, 1 … 9."""
    whole("effort", effort)
    if effort > MOST:
        raise UsageError(f"`effort` must be from 1 to {MOST}, not {effort}")
    return int(effort)
