"""Damaged streams, and random weights, maps and arrays, for the wavefront."""

from __future__ import annotations

import threading
from collections import Counter
from types import ModuleType
from typing import Any

import numpy as np

from .batches import run_batch
from .mutate import EDGES, Random, mutated
from .rans import MESSAGES, frequencies

BLOCK, EXP_SIZE, QUERIES, TOKENS = 16, 16384, 25, 13
#: Errors that the functions may raise for a damaged stream, for arguments that do not fit each
#: other, and for sizes that do not fit Py_ssize_t.
CHECKED = (ValueError, IndexError, TypeError, BufferError, OverflowError)
NETWORKS = 4


def padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def layer(inputs: int, outputs: int, limit: float, random: Random) -> list[Any]:
    """A layer's weight, bias, scale, limit and number of inputs. Its sums are small enough to be
    exact."""
    weight = random.integers(-2000, 2001, (padded(outputs), inputs + inputs % 2))
    bias = random.integers(-(2**20), 2**20, padded(outputs)).astype(np.float64)
    scale = 2.0 ** random.integers(-14, -6, padded(outputs))
    weight[:, inputs:] = 0
    for array in (weight, bias, scale):
        array[outputs:] = 0
    pairs = weight.reshape(-1, BLOCK, weight.shape[1] // 2, 2).transpose(0, 2, 1, 3)
    return [np.ascontiguousarray(pairs, np.int16), bias, scale, limit, inputs]


class Network:
    """Arguments of `network`, its tables of scales, and a map that was encoded with them."""

    def __init__(self, module: ModuleType, random: Random) -> None:
        self.M, self.heads = [(8, 2), (18, 3), (32, 16), (34, 17)][random.integers(0, 4)]
        m, n, hidden, mixed, deep = self.M, 7, 40, 27, 22
        groups = padded(self.heads) // BLOCK
        token = 3 * groups * (m // self.heads) * BLOCK
        narrow, wide, long = 2**15 - 1, 2**18 - 1, 2**24 - 1
        shapes = [
            (m, token, narrow), (m, hidden, narrow), (hidden, m, long), (9 * n, 2 * m, long),
            (2 * m, mixed, long), (m, mixed, long), (mixed, deep, long), (deep, m, 512 << 12),
            (deep, m, wide),
        ]  # fmt: skip
        self.arguments = [
            (m, self.heads, n, 2 * m, hidden, mixed, deep),
            [layer(*shape, random) for shape in shapes],
            [random.integers(-300, 1, 2000).astype(np.int32) for _ in range(3)],
            random.integers(-2000, 2000, (groups, QUERIES, TOKENS, BLOCK)).astype(np.int32),
            np.sort(random.integers(0, 65537, EXP_SIZE))[::-1].astype(np.int32),
            random.integers(-3000, 3000, token).astype(np.int16),
            np.sort(random.integers(-1000, 10**6, 5)).astype(np.float64),
            (2.0**-6, 2.0, 2.0**-14, 1.0, 3.0),
        ]
        halves = random.integers(1, 30, 6)
        parts = [frequencies(2 * int(half) + 1, random) for half in halves]
        if random.random() < 0.5:  # few escapes, so that damaged streams are read to the end
            for part in parts:
                part[len(part) // 2] += part[0] + part[-1] - 2
                part[[0, -1]] = 1
        numbers = np.concatenate(parts)
        self.tables = module.tables(halves, numbers)
        self.height, self.width = (int(random.integers(1, 9)) for _ in "hw")
        cells = self.height * self.width
        self.hidden = random.integers(-(10**5), 10**5, (cells, n)).astype(np.float32)
        spread = random.choice([1, 300, 10**6])
        self.y = random.normal(0, spread, (cells, m)).astype(np.float32)
        writer = module.writer()
        symbols, y_hat = self.code(module, writer, self.y, made(module, self.arguments))
        self.stream = module.finish(writer)
        for instructions in module.INSTRUCTIONS:
            reader = module.reader(self.stream, cells * m)
            network = made(module, self.arguments, instructions)
            again = self.code(module, reader, None, network, threads=2)
            if not (np.array_equal(again[0], symbols) and np.array_equal(again[1], y_hat)):
                raise AssertionError(f"{instructions}: a valid stream is decoded wrongly")

    def code(
        self, module: ModuleType, coder: Any, y: Any, network: Any, threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Encode or decode the map. Returns its symbols and ŷ."""
        cells = self.height * self.width
        symbols, y_hat = (np.zeros((cells, self.M), kind) for kind in (np.int16, np.float32))
        latents = (self.height, self.width, self.hidden, y, coder, self.tables, symbols, y_hat)
        run(module, module.wavefront(network, (latents,), threads), threads)
        return symbols, y_hat


def made(module: ModuleType, arguments: list[Any], instructions: str | None = None) -> Any:
    """Make a network from these arguments."""
    sizes, layers, curves, *rest = arguments
    tuples = tuple(tuple(values) for values in layers)
    return module.network(sizes, tuples, tuple(curves), *rest, instructions)


def run(module: ModuleType, job: Any, threads: int) -> None:
    others = [threading.Thread(target=module.run, args=(job, n)) for n in range(1, threads)]
    for thread in others:
        thread.start()
    try:
        module.run(job, 0)
    finally:
        module.disband(job)
        for thread in others:
            thread.join()


def damaged_stream(module: ModuleType, original: Network, random: Random) -> None:
    reader = module.reader(mutated(original.stream, random), original.y.size)
    network = made(module, original.arguments)
    original.code(module, reader, None, network, 1 + int(random.random() < 0.1))


def damaged_array(array: Any, random: Random) -> Any:
    """An array of another length or type, or with random numbers, some of them NaN."""
    changed = np.array(array).copy()
    flat = changed.reshape(-1)
    some = random.integers(0, len(flat), random.integers(1, 9))
    match random.integers(0, 6):
        case 0:
            return flat[: random.integers(0, len(flat) + 1)]
        case 1:
            return changed.astype(random.choice(["f4", "f8", "i2", "i4", "i8"]))
        case 2:
            return np.append(flat, flat[:3])
        case _ if changed.dtype.kind == "f":
            odd = [np.nan, np.inf, -np.inf, 0.0, 1e300, -1e300, 1e-300, 2.0**53, 0.5]
            flat[some] = random.choice(odd, len(some))
        case _:
            flat[some] = random.choice(EDGES, len(some)).astype(changed.dtype)
    return changed


def damaged_network(module: ModuleType, original: Network, random: Random) -> None:
    """Damage weights, tables or sizes. They must be refused, or code something harmlessly."""
    arguments = [*original.arguments]
    arguments[1] = [[*values] for values in arguments[1]]
    arguments[2] = [*arguments[2]]
    match random.integers(0, 5):
        case 0:
            place = random.integers(0, 3)
            values = arguments[1][random.integers(0, 8)]
            values[place] = damaged_array(values[place], random)
        case 1 if random.random() < 0.2:
            arguments[1][random.integers(0, 8)][4] = int(random.choice(EDGES))
        case 1:
            arguments[1][random.integers(0, 8)][3] = random.choice([0, -1, np.nan, np.inf, 1e300])
        case 2:
            number = random.integers(0, 3)
            arguments[2][number] = damaged_array(arguments[2][number], random)
        case 3:
            place = random.integers(3, 7)
            arguments[place] = damaged_array(arguments[place], random)
        case 4:
            sizes = [*arguments[0]]
            sizes[random.integers(0, 7)] = int(random.choice(EDGES))
            arguments[0] = tuple(sizes)
    factors = [*arguments[7]]
    if random.random() < 0.3:
        factors[random.integers(0, 5)] = random.choice([0.0, np.nan, np.inf, -1.0, 1e300])
    arguments[7] = tuple(factors)
    network = made(module, arguments)
    original.code(module, module.writer(), original.y, network)
    reader = module.reader(mutated(original.stream, random), original.y.size)
    original.code(module, reader, None, network)


def damaged_map(module: ModuleType, original: Network, random: Random) -> None:
    """Use arrays and sizes of a map that do not fit the network, and latents that are NaN."""
    cells = original.height * original.width
    encodes = random.random() < 0.5
    coder = module.writer() if encodes else module.reader(original.stream, cells * original.M)
    latents = [
        original.height, original.width, original.hidden, original.y if encodes else None,
        coder, original.tables,
        np.zeros((cells, original.M), np.int16), np.zeros((cells, original.M), np.float32),
    ]  # fmt: skip
    place = random.integers(0, 8)
    if place in (0, 1):
        latents[place] = int(random.choice([*EDGES, 10**6]))
    elif latents[place] is None or place in (4, 5):
        latents[place] = random.choice([None, original.tables, coder, b"", 5])
    else:
        latents[place] = damaged_array(latents[place], random)
    run(module, module.wavefront(made(module, original.arguments), (tuple(latents),), 1), 1)


SHARES = {damaged_stream: 0.5, damaged_network: 0.3, damaged_map: 0.2}


def ending(error: Exception) -> str | None:
    """The message or type of a checked error. None for any other exception."""
    refused = f"refused ({type(error).__name__})"
    return MESSAGES.get(str(error), refused) if isinstance(error, CHECKED) else None


def batch(module: ModuleType, random: Random, count: int) -> Counter[str]:
    """Make `count` mutations, and count how they end."""
    originals = [Network(module, random) for _ in range(NETWORKS)]
    return run_batch(module, random, count, originals, SHARES, ending)
