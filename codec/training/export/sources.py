"""Loads the checkpoint to export, or the mean of several checkpoints of one network."""

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
    """One or several checkpoints of one network, combined.

    Args:
        source: the first file, for messages.
        kind: the kind of their trainer.
        config: the config of the network, as plain fields.
        options: the options of the first checkpoint, as plain fields.
        average: the mean of their weights.
        history: every run that led to these weights.
        calibration: validation images (n, H, W, 3) uint8, or None.
        count: how many checkpoints there are.
        symbols: the sum of their counts, to which tables are fitted, or None.
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
    """Load one checkpoint, or several of one network and take their mean.

    Several checkpoints must come from runs that started from the same weights (`--init`), with
    different seeds.

    Raises:
        BadInputError: A checkpoint is damaged.
        UsageError: The checkpoints do not fit together.
    """
    states = [checkpoint.load(source) for source in sources]
    first = states[0]
    try:
        for state in states:
            if parsed(state) != parsed(first):
                raise UsageError("cannot take the mean of checkpoints of different networks")
            if state["options"]["quality_range"] != first["options"]["quality_range"]:
                raise UsageError("cannot take the mean of checkpoints for different qualities")
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
    """The config of a checkpoint. Fields that older checkpoints lack get their old values."""
    if checkpoint.kind_of(state) == checkpoint.HEAD:
        return HeadConfig.from_dict(state["config"])
    return config_from(state["config"])


def mean(weights: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each tensor over several sets of weights."""
    if len(weights) == 1:  # unchanged in every bit, while a mean would turn -0 into 0
        return weights[0]
    return {name: torch.stack([each[name] for each in weights]).mean(0) for name in weights[0]}


def merged(histories: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """All runs of several histories, without repeating runs that histories have in common.

    Raises:
        UsageError: A history has no run in common with the histories before it.
    """
    runs = list(histories[0])
    for i, history in enumerate(histories[1:], 1):
        common = max(shared(history, earlier) for earlier in histories[:i])
        if not common:
            raise UsageError(
                "cannot take the mean of checkpoints that have no training run in common"
            )
        runs += history[common:]
    return runs


def shared(one: list[dict[str, Any]], two: list[dict[str, Any]]) -> int:
    """How many runs at the start of two histories are the same."""
    pairs = zip(one, two, strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
