"""When the phases of a run end: by minutes and steps, or all of them by the clock.

    by minutes    start │ stable: --max-minutes, --max-steps │ annealing: --anneal-minutes │ write
    by the clock  start │ stable: the rest │ annealing: --anneal-part of what start left │ write
                  └──────────────────────────────── --minutes ─────────────────────────────────┘

Imports no torch, since `--help` reads the options.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ticodec.errors import TicodecError, UsageError

#: The part of a run by the clock in which its rate falls. Most of the gain comes then.
ANNEAL_PART = 0.7
#: Time kept for the end of a run by the clock: the time that the stable phase took to end, times
#: this, and these seconds.
CAUTION, SPARE_SECONDS = 1.5, 0.5

Clock = Callable[[], float]


def setting(help: str) -> Any:
    """An option that may be left out."""
    return field(default=None, metadata={"help": help})


@dataclass(frozen=True)
class Limits:
    """When a run ends. Without any it trains until it is stopped.

    Raises UsageError for what cannot be, or does not go together.
    """

    max_minutes: float | None = setting("End the stable phase after these.")
    max_steps: int | None = setting("End the stable phase at this step.")
    anneal_minutes: float | None = setting("Then let the rate of a copy fall to 0.")
    minutes: float | None = setting(
        "End the command after these, its checkpoints written: starting, decoding and compiling "
        "count. The rate falls to 0 at the end."
    )
    anneal_part: float | None = setting(
        "With --minutes: the part of the training time in which the rate falls. "
        f"[default: {ANNEAL_PART:g}]"
    )

    def __post_init__(self) -> None:
        for name in ("max_minutes", "max_steps", "anneal_minutes"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise UsageError(f"`{name}` must be a number from 0 on")
            if value is not None and self.minutes is not None:
                raise UsageError(f"`minutes` ends the run; leave `{name}` out")
        if self.minutes is not None and not 0 < self.minutes < math.inf:
            raise UsageError("`minutes` must be a number above 0")
        if self.anneal_part is not None:
            if self.minutes is None:
                raise UsageError("`anneal_part` is a part of `minutes`: give these too")
            if not 0 < self.anneal_part <= 1:
                raise UsageError("`anneal_part` must be above 0, at most 1")

    @property
    def anneals(self) -> bool:
        """Whether there is annealing."""
        return self.minutes is not None or bool(self.anneal_minutes)


class Schedule:
    """The limits of a run whose training begins now.

    Args:
        began: what the clock said when the command began. clock: seconds.

    Raises TicodecError when its minutes are over already.
    """

    def __init__(self, limits: Limits, began: float, clock: Clock = time.monotonic) -> None:
        self.limits, self.clock = limits, clock
        now = clock()
        self.deadline = math.inf if limits.minutes is None else began + 60 * limits.minutes
        if now >= self.deadline:
            raise TicodecError(
                f"the {limits.minutes:g} minutes were over before training could begin: that took "
                f"{now - began:.0f} s"
            )
        self.stable_end = math.inf if limits.max_minutes is None else now + 60 * limits.max_minutes
        if limits.minutes is not None:
            part = ANNEAL_PART if limits.anneal_part is None else limits.anneal_part
            self.stable_end = now + (1 - part) * (self.deadline - now)
        self.annealing = (now, now)  # from, to

    def stable_ended(self, step: int) -> bool:
        """Whether the stable phase is over at a step."""
        steps = self.limits.max_steps
        return self.clock() >= self.stable_end or (steps is not None and step >= steps)

    def begin_annealing(self, ending_took: float) -> None:
        """Annealing begins now.

        Args:
            ending_took: seconds that it took to write and judge the weights of the stable phase;
                those of annealing will take as long.
        """
        now = self.clock()
        self.annealing = now, now + 60 * (self.limits.anneal_minutes or 0)
        if self.limits.minutes is not None:
            self.annealing = now, self.deadline - CAUTION * ending_took - SPARE_SECONDS

    def annealed(self) -> float:
        """How far annealing has come, from 0; at 1 and above it is over."""
        start, end = self.annealing
        return (self.clock() - start) / (end - start) if end > start else 1.0
