"""Finds the quality that reaches a target, with few trials. Imports neither the codec nor torch.

guess of the curve ─► first trial ─► curve, moved and stretched to go through the trials ─► …

The trials on both sides of the target bracket it, so the search always ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np


class Trial(Protocol):
    """The result of encoding with one stored quality."""

    @property
    def stored(self) -> int:
        """The stored quality."""

    @property
    def value(self) -> float:
        """What the file reaches. It is higher at a higher quality."""


T = TypeVar("T", bound=Trial)


@dataclass(frozen=True)
class Aim:
    """The values to reach.

    Args:
        least, most: any value from `least` to `most` is accepted. The search aims at the middle.
        at_most: which value to take if the curve jumps over the whole range: the nearest lower one
            if true, the nearest higher one if false.
    """

    least: float
    most: float
    at_most: bool

    @property
    def middle(self) -> float:
        """The value that the search aims at."""
        return (self.least + self.most) / 2

    def on_side(self, value: float) -> bool:
        """Whether a value keeps the limit: at most `most` if `at_most`, else at least `least`."""
        return value <= self.most if self.at_most else value >= self.least


@dataclass(frozen=True)
class Curve:
    """A guess of the values that all qualities give.

    Args:
        stored: stored qualities, ascending.
        values: the value of each quality, ascending. Between them the curve is a straight line.
    """

    stored: Sequence[int]
    values: Sequence[float]

    def value(self, stored: int) -> float:
        """The guessed value of a stored quality."""
        return float(np.interp(stored, self.stored, self.values))

    def through(self, trial: Trial) -> Curve:
        """The same curve, moved up or down to go through a trial."""
        move = trial.value - self.value(trial.stored)
        return Curve(self.stored, [value + move for value in self.values])

    def quality(self, value: float) -> int:
        """The stored quality guessed for a value. Values outside of the curve give its ends."""
        at = np.interp(value, self.values, self.stored)
        # If two values are almost equal, the slope between them overflows to infinity.
        at = np.nan_to_num(at, nan=self.stored[0], posinf=self.stored[-1])
        return round(float(at))


@dataclass(frozen=True)
class Found(Generic[T]):
    """How a search ended.

    Args:
        best: the trial to take.
        trials: how many trials there were.
        end: -1 if `best` has the lowest quality and its value is still too high; 1 if it has the
            highest quality and its value is still too low; 0 otherwise.
    """

    best: T
    trials: int
    end: int


#: How many trials follow only the curve. After these, every second trial halves the range of
#: qualities that is left.
FREE = 6


def search(
    aim: Aim, curve: Curve, attempt: Callable[[int], T], most: int | None = None
) -> Found[T]:
    """Look for a stored quality whose value is accepted, among those of the curve.

    Args:
        aim: the values that are accepted.
        curve: a guess of the values.
        attempt: tries a stored quality.
        most: the most trials. None means to go on until no quality is left to try. That usually
            takes two trials, and at most `FREE` + 2·log₂(number of qualities) + 2.
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
    """Choose the next stored quality to try, from the curve and the trials so far."""
    if not tried:
        return curve.quality(aim.middle)
    # Use the nearest trial on each side of the aim. If one side has none, use the last two trials,
    # or the only trial twice.
    one, other = (below, above) if below and above else (tried[-1], tried[-2:][0])
    guessed, missing = curve.value(one.stored), aim.middle - one.value
    rise, real_rise = guessed - curve.value(other.stored), one.value - other.value
    if rise * real_rise > 0:  # curve and trials have the same direction: stretch the curve
        missing *= rise / real_rise
    return curve.quality(guessed + missing)
