"""Looking for the quality that reaches a target, in few trials. Knows no codec and needs no torch.

guess of the curve ─► first trial ─► the guess, moved and stretched through what was tried ─► …
                                     and bracketed by it, so that it always ends
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np


class Trial(Protocol):
    """What encoding at a stored quality gave."""

    @property
    def stored(self) -> int:
        """The stored quality."""

    @property
    def value(self) -> float:
        """What it reaches: more at a higher quality."""


T = TypeVar("T", bound=Trial)


@dataclass(frozen=True)
class Aim:
    """The values to reach.

    Args:
        least, most: any value from one to the other will do; the middle is aimed at.
        at_most: what to take if the curve jumps over all of these: the nearest lower value if true,
            else the nearest higher one.
    """

    least: float
    most: float
    at_most: bool

    @property
    def middle(self) -> float:
        """What is aimed at."""
        return (self.least + self.most) / 2

    def on_side(self, value: float) -> bool:
        """Whether a value keeps the limit: is not above `most`, or not below `least`."""
        return value <= self.most if self.at_most else value >= self.least


@dataclass(frozen=True)
class Curve:
    """A guess of the values that all qualities give.

    Args:
        stored: qualities, ascending; values: of each, ascending. Between them it is straight.
    """

    stored: Sequence[int]
    values: Sequence[float]

    def value(self, stored: int) -> float:
        """What it guesses for a stored quality."""
        return float(np.interp(stored, self.stored, self.values))

    def through(self, trial: Trial) -> Curve:
        """The same curve, moved up or down to go through a trial."""
        move = trial.value - self.value(trial.stored)
        return Curve(self.stored, [value + move for value in self.values])

    def quality(self, value: float) -> int:
        """The stored quality that it guesses for a value; beyond its ends, its ends."""
        return round(float(np.interp(value, self.values, self.stored)))


@dataclass(frozen=True)
class Found(Generic[T]):
    """How a search ended.

    Args:
        best: the trial to take; trials: how many there were.
        end: -1 if `best` has the lowest quality, which gives too much; 1 if it has the highest,
            which gives too little; otherwise 0.
    """

    best: T
    trials: int
    end: int


#: So many trials follow the curve alone. Then every second one halves the qualities that are left.
FREE = 6


def search(
    aim: Aim, curve: Curve, attempt: Callable[[int], T], most: int | None = None
) -> Found[T]:
    """Look for a stored quality that will do, from the first of the curve to the last.

    Args:
        attempt: tries a stored quality.
        most: end after so many trials. None: go on until no quality is left that could do. That
            takes two trials as a rule, and `FREE` + 2·log₂(number of qualities) + 2 at most.
    """
    low, high = curve.stored[0], curve.stored[-1]
    below: T | None = None
    above: T | None = None
    tried: list[T] = []
    while low <= high and len(tried) != most:
        stored = _next(aim, curve, tried, below, above)
        if len(tried) >= FREE and len(tried) % 2 == 0:
            stored = (low + high) // 2
        trial = attempt(min(max(stored, low), high))
        tried.append(trial)
        if aim.least <= trial.value <= aim.most:
            return Found(trial, len(tried), 0)
        if trial.value < aim.least:
            low, below = trial.stored + 1, trial
        else:
            high, above = trial.stored - 1, trial
    best = (below or above) if aim.at_most else (above or below)
    assert best is not None
    end = 0
    if low > high and not (below and above):
        end = 1 if below else -1
    return Found(best, len(tried), end)


def _next(aim: Aim, curve: Curve, tried: Sequence[T], below: T | None, above: T | None) -> int:
    """The stored quality to try, by the curve and by what was tried."""
    if not tried:
        return curve.quality(aim.middle)
    # The two nearest to the aim; without a trial on each side, the last two, or the only one twice.
    one, other = (below, above) if below and above else (tried[-1], tried[-2:][0])
    guessed, missing = curve.value(one.stored), aim.middle - one.value
    rise, real_rise = guessed - curve.value(other.stored), one.value - other.value
    if rise * real_rise > 0:  # both go the same way: stretch the curve
        missing *= rise / real_rise
    return curve.quality(guessed + missing)
