"""Damaged streams, tables, values and indexes for the rANS coder."""

from __future__ import annotations

from collections import Counter
from types import ModuleType
from typing import Any

import numpy as np

from .batches import run_batch
from .mutate import EDGES, Random, mutated, mutated_integers

TOTAL = 1 << 16
#: Errors that the coder may raise on damage.
CHECKED = (ValueError, IndexError)
MESSAGES = {
    "these numbers are not entropy tables": "no tables",
    "no entropy table has this number": "no such table",
    "a value is too far outside its table": "too far outside",
    "the entropy stream ends too early": "too many values",
    "impossible symbol in an entropy stream": "impossible escape",
}
#: Streams per batch. Each of them is mutated many times.
STREAMS = 10


class Original:
    """Random tables, and a valid stream."""

    def __init__(self, module: ModuleType, random: Random) -> None:
        widest = random.choice([1, 3, 20, 255, 2000])
        self.halves = random.integers(1, widest + 1, random.integers(1, 7))
        parts = [frequencies(2 * int(half) + 1, random) for half in self.halves]
        self.frequencies = np.concatenate(parts)
        self.tables = module.tables(self.halves, self.frequencies)
        count = int(random.choice([0, 1, 2, 5, 40, 200]))
        self.indexes = random.integers(0, len(self.halves), count).astype(np.uint16)
        self.values = values_for(self.halves[self.indexes], random)
        self.stream = coded(module, self.values, self.indexes, self.tables)
        back = decoded(module, self.stream, self.indexes, self.tables, count)
        if not np.array_equal(back, self.values):
            raise AssertionError("a valid stream is decoded wrongly")


def frequencies(symbols: int, random: Random) -> np.ndarray:
    """Frequencies of a table: equal ones, or almost all in one symbol."""
    weights = random.random(symbols) ** random.choice([0, 1, 40])
    made = 1 + np.floor(weights / weights.sum() * (TOTAL - symbols)).astype(np.int64)
    made[made.argmax()] += TOTAL - made.sum()
    return made


def values_for(ends: np.ndarray, random: Random) -> np.ndarray:
    """Values inside tables of these K, at their ends, and outside in the whole range of escapes."""
    inside = random.integers(-ends, ends + 1)
    outside = ends + random.choice([0, 1, 15, 16, 4095, 65535], len(ends))
    which = random.random(len(ends)) < random.choice([0, 0.1, 1])
    signs = random.choice([-1, 1], len(ends))
    return np.where(which, signs * outside, inside).astype(np.int32)


def coded(module: ModuleType, values: np.ndarray, indexes: np.ndarray, tables: Any) -> bytes:
    """Write a stream in two calls."""
    writer, cut = module.writer(), len(values) // 3
    module.write(writer, values[:cut], indexes[:cut], tables)
    module.write(writer, values[cut:], indexes[cut:], tables)
    return module.finish(writer)


def decoded(
    module: ModuleType, data: bytes, indexes: np.ndarray, tables: Any, limit: int
) -> np.ndarray:
    """Read a stream in the same two calls.

    The arrays have exactly the size they need, so that a sanitizer sees every access beyond it.
    """
    reader, cut = module.reader(data, limit), len(indexes) // 3
    parts = []
    for part in (indexes[:cut].copy(), indexes[cut:].copy()):
        values = np.empty(len(part), np.int32)
        module.read(reader, part, values, tables)
        parts.append(values)
    return np.concatenate(parts)


def damaged_stream(module: ModuleType, original: Original, random: Random) -> None:
    data = mutated(original.stream, random)
    decoded(module, data, original.indexes, original.tables, len(original.indexes))


def damaged_indexes(module: ModuleType, original: Original, random: Random) -> None:
    """Decode with other indexes, sometimes more than were announced. The stream may be valid."""
    indexes = mutated_integers(original.indexes.astype(np.int64), random).astype(np.uint16)
    data = mutated(original.stream, random) if random.random() < 0.5 else original.stream
    limit = len(indexes) - int(random.random() < 0.2 and len(indexes) > 0)
    decoded(module, data, indexes, original.tables, limit)


def damaged_tables(module: ModuleType, original: Original, random: Random) -> None:
    """Damage tables. They must be refused, or a round trip with them must give the same values."""
    halves, numbers = original.halves, original.frequencies
    if random.random() < 0.5:
        halves = mutated_integers(halves, random)
    if random.random() < 0.7:
        numbers = mutated_integers(numbers, random)
    tables = module.tables(halves, numbers)
    if numbers.min() < 1 or (2 * halves + 1).sum() != len(numbers):
        raise AssertionError("invalid tables are accepted")
    indexes = original.indexes % len(halves)
    values = values_for(halves[indexes], random)
    stream = coded(module, values, indexes, tables)
    if not np.array_equal(decoded(module, stream, indexes, tables, len(values)), values):
        raise AssertionError("a stream of changed tables is decoded wrongly")
    decoded(module, mutated(stream, random), indexes, tables, len(values))


def damaged_values(module: ModuleType, original: Original, random: Random) -> None:
    """Damage values and indexes. They must be refused, or decode to the same values.

    A refused call must write nothing.
    """
    values = mutated_integers(original.values.astype(np.int64), random)
    for _ in range(random.integers(0, 3)):
        values = np.append(values, random.choice(EDGES))
    values = values.astype(np.int32)
    indexes = np.resize(original.indexes, len(values)) if len(original.indexes) else values * 0
    if random.random() < 0.3:
        indexes = mutated_integers(indexes.astype(np.int64), random)[: len(values)]
        values = values[: len(indexes)]
    indexes = indexes.astype(np.uint16)
    writer = module.writer()
    try:
        module.write(writer, values, indexes, original.tables)
    except CHECKED:
        if len(module.finish(writer)) != 8:
            raise AssertionError("a refused call has written something") from None
        raise
    reader, back = module.reader(module.finish(writer), len(values)), np.empty_like(values)
    module.read(reader, indexes, back, original.tables)
    if not np.array_equal(back, values):
        raise AssertionError("values are decoded wrongly")


SHARES = {damaged_stream: 0.55, damaged_indexes: 0.15, damaged_tables: 0.15, damaged_values: 0.15}


def ending(error: Exception) -> str | None:
    """A short name of a checked error. None if the message is not one of a checked error."""
    return MESSAGES.get(str(error)) if isinstance(error, CHECKED) else None


def batch(module: ModuleType, random: Random, count: int) -> Counter[str]:
    """Make `count` mutations, and count how they end."""
    originals = [Original(module, random) for _ in range(STREAMS)]
    return run_batch(module, random, count, originals, SHARES, ending)
