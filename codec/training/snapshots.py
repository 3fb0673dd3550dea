"""Writes the averaged weights in parts again and again while a run trains, see `parts`."""

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

#: Entries of a checkpoint that only a resumed run needs.
LEFT_OUT = ("network", "optimizer", "random")


class Snapshots:
    """Writes weights into a folder again and again. Only the first of several ranks writes.

    Args:
        trainer: the trainer whose weights are written.
        folder: where they are written.
        options: size and time between two sets. Without `part_mib` nothing is written.
        clock: returns a time in seconds.
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
        """Write the current averaged weights."""
        if self.mib is None:
            return
        state = self.trainer.state()
        facts = {"step": state["step"], "crops": state["crops"]}
        parts.write(self.folder, light_bytes(state), self.mib, facts)
        self.left = self.clock()

    def leave_if_due(self) -> None:
        """Write the averaged weights if they were last written long enough ago."""
        if self.mib is not None and self.clock() - self.left >= self.seconds:
            self.leave()

    def finish(self) -> None:
        """Mark the run as ended."""
        if self.mib is not None:
            parts.finish(self.folder)


def light_bytes(state: dict[str, Any]) -> bytes:
    """Makes a checkpoint for `export` and `init` from a trainer's state.

    Averages are stored in half precision.
    """
    kept = {name: value for name, value in state.items() if name not in LEFT_OUT}
    kept["average"] = {
        # STANDARD stays float32: export folds it into other weights before it rounds these to half.
        name: value.cpu() if name.endswith(STANDARD) else value.half().cpu()
        for name, value in state["average"].items()
    }
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **kept}, buffer)
    return buffer.getvalue()
