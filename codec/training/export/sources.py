"""What checkpoints say that are exported: one, or several of one network, whose mean is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ticodec.errors import BadInputError, TicodecError, UsageError
from ticodec.models.config import Dimensions, HeadConfig
from ticodec.models.families import config_from
from ticodec.training import checkpoint
from ticodec.training.standardised_input import folded
from ticodec.training.symbol_counts import SymbolCounts, counts_of, summed

from .one_thread import one_thread


@dataclass
class Checkpoints:
    """What checkpoints of one network say together.

    Args:
        source: the first file, for messages.
        kind: of their trainer; config, options: theirs, as plain fields.
        average: the mean of their weights; history: every run that led to them.
        calibration: validation images (n, H, W, 3) uint8, or None; count: how many there are.
        symbols: counts that tables are fitted to, of all together, or None.
    """

    source: Path
    kind: str
    config: dict[str, Any]
    options: dict[str, Any]
    average: dict[str, Tensor]
    history: list[dict[str, Any]]
    calibration: Tensor | None
    count: int
    symbols: SymbolCounts | None = None


@one_thread()
def load(sources: Sequence[Path]) -> Checkpoints:
    """A checkpoint; or several of one network, whose mean is taken.

    Those are of runs that began from the same weights (`--init`) with other seeds.

    Raises BadInputError when one is damaged, UsageError when they do not fit together.
    """
    states = [checkpoint.load(source) for source in sources]
    first = states[0]
    try:
        for state in states:
            if parsed(state) != parsed(first):
                raise UsageError("these checkpoints are of different networks and have no mean")
            if state["options"]["quality_range"] != first["options"]["quality_range"]:
                raise UsageError("these checkpoints were trained for different qualities")
        return Checkpoints(
            source=sources[0],
            kind=checkpoint.kind_of(first),
            config=first["config"],
            options=first["options"],
            average=mean([folded(state["average"]) for state in states]),
            history=merged([state["history"] for state in states]),
            calibration=first["calibration"],
            count=len(states),
            symbols=summed(counts_of(state) for state in states),
        )
    except TicodecError:
        raise
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        shown = ", ".join(map(str, sources))
        raise BadInputError(f"{shown}: not a checkpoint of this version: {error}") from error


def parsed(state: dict[str, Any]) -> Dimensions:
    """The config of a checkpoint, what older ones leave out being as it was."""
    if checkpoint.kind_of(state) == checkpoint.HEAD:
        return HeadConfig.from_dict(state["config"])
    return config_from(state["config"])


def mean(weights: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each tensor."""
    if len(weights) == 1:  # bit by bit: a sum makes 0 of the -0 that half precision has
        return weights[0]
    return {name: torch.stack([each[name] for each in weights]).mean(0) for name in weights[0]}


def merged(histories: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Runs of all the histories, each once: what one has in common with an earlier is left out.

    Raises UsageError when there is one that has nothing in common with the others.
    """
    runs = list(histories[0])
    for i, history in enumerate(histories[1:], 1):
        common = max(shared(history, earlier) for earlier in histories[:i])
        if not common:
            raise UsageError("these checkpoints have no training run in common, hence no mean")
        runs += history[common:]
    return runs


def shared(one: list[dict[str, Any]], two: list[dict[str, Any]]) -> int:
    """How many runs two histories begin with in common."""
    pairs = zip(one, two, strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
