"""Averaged weights that a run leaves in parts while it trains: see `parts`."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from . import parts
from .checkpoint import FORMAT
from .parameters import STANDARD
from .trainer import AnyTrainer

#: What of a checkpoint only a run that goes on needs.
LEFT_OUT = ("network", "optimizer", "random")


class Snapshots:
    """Leaves weights in a folder, again and again; of several ranks the first does.

    Args:
        options: with `part_mib`: without, nothing is left. clock: seconds.
    """

    def __init__(
        self,
        trainer: AnyTrainer,
        folder: Path,
        options: parts.PartOptions,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.trainer, self.folder, self.clock = trainer, folder, clock
        self.mib = options.part_mib if trainer.ranks.first else None
        self.seconds, self.left = 60 * options.minutes, clock()
        if self.mib is not None:
            parts.begin(folder)

    def leave(self) -> None:
        """Leave the averaged weights as they are now."""
        if self.mib is None:
            return
        state = self.trainer.state()
        facts = {"step": state["step"], "crops": state["crops"]}
        parts.write(self.folder, light_bytes(state), self.mib, facts)
        self.left = self.clock()

    def leave_if_due(self) -> None:
        """Leave them if that was last done long enough ago."""
        if self.mib is not None and self.clock() - self.left >= self.seconds:
            self.leave()

    def finish(self) -> None:
        """Say that no more come."""
        if self.mib is not None:
            parts.finish(self.folder)


def light_bytes(state: dict[str, Any]) -> bytes:
    """A checkpoint to export or begin from, of a trainer's state: averages in half precision."""
    kept = {name: value for name, value in state.items() if name not in LEFT_OUT}
    kept["average"] = {
        # A file has those of the first layer folded into others, which then are made half.
        name: value.cpu() if name.endswith(STANDARD) else value.half().cpu()
        for name, value in state["average"].items()
    }
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **kept}, buffer)
    return buffer.getvalue()
