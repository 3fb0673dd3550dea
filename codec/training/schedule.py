"""When the phases of a run end.

Either each phase has its own limit, or the whole run has to end in a number of minutes:

    phase limits  start │ stable: --max-minutes, --max-steps │ annealing: --anneal-minutes │ write
    whole run     start │ stable: the rest │ annealing: --anneal-part of training time │ write
                  └────────────────────────────── --minutes ─────────────────────────────────┘

This module imports no torch, because `--help` reads the options.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ticodec.errors import TicodecError, UsageError

#: With `minutes`: the share of the training time that goes to annealing, which gains the most.
ANNEAL_PART = 0.7
#: With `minutes`: the time reserved for the end of the run is CAUTION times the time that the end
#: of the stable phase took, plus SPARE_SECONDS.
CAUTION, SPARE_SECONDS = 1.5, 0.5

Clock = Callable[[], float]


def setting(help: str) -> Any:
    """An option whose default is None, which means that it was not given."""
    return field(default=None, metadata={"help": help})


@dataclass(frozen=True)
class Limits:
    """When a run ends. Without any limit it trains until it is stopped.

    Raises:
        UsageError: A value is out of range, or two limits do not fit together.
    """

    max_minutes: float | None = setting(
        "End the stable phase, which has a constant learning rate, after this many minutes."
    )
    max_steps: int | None = setting("End the stable phase at this step.")
    anneal_minutes: float | None = setting(
        "After the stable phase train a copy for this many minutes, while its learning rate falls "
        "to 0. The copy, annealed.pt, is what to export."
    )
    minutes: float | None = setting(
        "End the whole command after this many minutes, with its checkpoints written. Starting, "
        "decoding and compiling count too. The learning rate falls to 0 at the end."
    )
    anneal_part: float | None = setting(
        "With --minutes: the part of the training time in which the learning rate falls to 0. "
        f"[default: {ANNEAL_PART:g}]"
    )

    def __post_init__(self) -> None:
        for name in ("max_minutes", "max_steps", "anneal_minutes"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise UsageError(f"`{name}` must be 0 or a positive number")
            if value is not None and self.minutes is not None:
                raise UsageError(f"`minutes` sets when each phase ends: leave out `{name}`")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise UsageError("`minutes` must be a number above 0")
        if self.anneal_part is not None:
            if self.minutes is None:
                raise UsageError("`anneal_part` is a part of `minutes`: give `minutes` too")
            if not 0 < self.anneal_part <= 1:
                raise UsageError("`anneal_part` must be above 0 and at most 1")

    @property
    def anneals(self) -> bool:
        """Whether the run has an annealing phase."""
        return self.minutes is not None or bool(self.anneal_minutes)


class Schedule:
    """The limits of a run, turned into times of the clock. Training begins when this is made.

    Args:
        limits: the limits of the run.
        began: the time of the clock when the command began.
        clock: returns a time in seconds.

    Raises:
        TicodecError: The minutes of the run are already over.
    """

    def __init__(self, limits: Limits, began: float, clock: Clock = time.monotonic) -> None:
        self.limits, self.clock = limits, clock
        now = clock()
        self.deadline = math.inf if limits.minutes is None else began + 60 * limits.minutes
        if now >= self.deadline:
            raise TicodecError(
                f"the {limits.minutes:g} minutes were over before training could begin: "
                f"getting ready took {now - began:.0f} s"
            )
        self.stable_end = math.inf if limits.max_minutes is None else now + 60 * limits.max_minutes
        if limits.minutes is not None:
            part = ANNEAL_PART if limits.anneal_part is None else limits.anneal_part
            self.stable_end = now + (1 - part) * (self.deadline - now)
        self.annealing = (now, now)  # when annealing begins and ends

    def stable_ended(self, step: int) -> bool:
        """Whether the stable phase ends before this step."""
        steps = self.limits.max_steps
        return self.clock() >= self.stable_end or (steps is not None and step >= steps)

    def begin_annealing(self, ending_took: float) -> None:
        """Start the annealing phase now.

        Args:
            ending_took: how many seconds it took to write and validate the weights of the stable
                phase. The end of annealing is expected to take as long.
        """
        now = self.clock()
        self.annealing = now, now + 60 * (self.limits.anneal_minutes or 0)
        if self.limits.minutes is not None:
            self.annealing = now, self.deadline - CAUTION * ending_took - SPARE_SECONDS

    def annealed(self) -> float:
        """The progress of annealing, from 0. From 1 on it is over."""
        start, end = self.annealing
        return (self.clock() - start) / (end - start) if end > start else 1.0
