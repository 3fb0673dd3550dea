"""Effort: how long the encoder looks for better latents than g_a gives. Needs no torch."""

from __future__ import annotations

from .errors import UsageError
from .inputs import whole

#: The most effort; 1 takes the latents that g_a gives.
MOST = 9
#: The effort when none is asked for.
USUAL_EFFORT = 1
#: Raised when effort 2 … 9 give other bytes for the same picture and weights. Measurements of them
#: are kept by it, and by `codec.ENCODER`.
REFINEMENT = 1
#: Latents are refined in blocks of at most so many positions each way, to bound the memory.
BLOCK = 48


def checked_effort(effort: int) -> int:
    """The effort. Raises UsageError unless it is a whole number, 1 … 9."""
    whole("effort", effort)
    if effort > MOST:
        raise UsageError(f"`effort` must be from 1 to {MOST}, not {effort}")
    return int(effort)
