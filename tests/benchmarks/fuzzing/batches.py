"""The loop that all targets of the fuzzer share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from .mutate import Random

#: Makes and tries one mutation. Takes the extension, a valid original, and random numbers.
Mutation = Callable[[ModuleType, Any, Random], None]


def run_batch(
    module: ModuleType,
    random: Random,
    count: int,
    originals: Sequence[Any],
    shares: dict[Mutation, float],
    ending: Callable[[Exception], str | None],
) -> Counter[str]:
    """Make `count` mutations of the originals in turn, and count how they end.

    Args:
        shares: the probability of each kind of mutation. They sum to 1.
        ending: a function that returns the name of a checked error, and None for any other
            exception, which is let through.
    """
    ends: Counter[str] = Counter()
    kinds = [*shares]
    for number in range(count):
        kind = kinds[random.choice(len(kinds), p=[*shares.values()])]
        try:
            kind(module, originals[number % len(originals)], random)
            ends["symbols"] += 1
        except Exception as error:
            name = ending(error)
            if name is None:
                raise
            ends[name] += 1
    return ends
