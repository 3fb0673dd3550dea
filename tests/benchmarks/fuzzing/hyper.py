"""Random weights, maps and arrays for h_s."""

from __future__ import annotations

from collections import Counter
from types import ModuleType
from typing import Any

import numpy as np

from .batches import run_batch
from .mutate import EDGES, Random
from .wavefront import BLOCK, CHECKED, EXP_SIZE, damaged_array, layer, padded, run

NARROW, WIDE = 2**15 - 1, 2**18 - 1
WEIGHTS = 4
#: The place of an array or number in nested lists: the list that holds it, and its index there.
Place = tuple[list[Any], int]


class Weights:
    """Random weights as arguments of `hyper`, and a map of hyper-latents."""

    def __init__(self, module: ModuleType, random: Random) -> None:
        self.N = int(random.choice([8, 12, 20]))
        window = int(random.integers(1, 6))
        self.arguments = [
            [self.N, window, bool(random.integers(0, 2))],
            [self.stage(window, random) for _ in range(2)],
            np.sort(random.integers(0, 65537, EXP_SIZE))[::-1].astype(np.int32),
        ]
        self.height, self.width = (int(random.integers(1, 5)) for _ in "hw")
        self.z = random.integers(-300, 300, (self.height, self.width, self.N)).astype(np.int16)
        expected = self.synthesis(module, made(module, self.arguments))
        for instructions in module.INSTRUCTIONS:
            weights = made(module, self.arguments, instructions)
            if not np.array_equal(self.synthesis(module, weights, threads=2), expected):
                raise AssertionError(f"{instructions}: the numbers differ")

    def stage(self, window: int, random: Random) -> list[Any]:
        """Arguments of one stage.

        They are: heads, layers of the transposed convolution, Swin layers, LayerNorm's epsilon.
        """
        heads = int(random.choice([heads for heads in (1, 2, 4, 20) if self.N % heads == 0]))
        ups = [layer(taps * self.N, self.N, WIDE, random) for taps in (1, 2, 2, 4)]
        depth = int(random.integers(0, 4))
        layers = [self.swin(heads, window, i % 2 == 1, random) for i in range(depth)]
        return [heads, ups, layers, 3.0]

    def swin(self, heads: int, window: int, shifted: bool, random: Random) -> list[Any]:
        """Arguments of one Swin block.

        They are: layers, width of the hidden layer, its activation curve, whether its windows are
        shifted, biases, a factor.
        """
        groups, hidden = padded(heads) // BLOCK, int(random.integers(1, 40))
        seen = groups * (self.N // heads) * BLOCK
        patterns = 4 if shifted and window > 1 else 1
        shape = (patterns, groups, window**2, window**2, BLOCK)
        layers = [
            layer(self.N, 3 * seen, NARROW, random), layer(seen, self.N, WIDE, random),
            layer(self.N, hidden, NARROW, random), layer(hidden, self.N, WIDE, random),
        ]  # fmt: skip
        curve = random.integers(-300, 1, 2000).astype(np.int32)
        bias = random.choice([-(2**31), -900, 0, 900], shape, p=[0.2, 0.2, 0.3, 0.3])
        return [layers, hidden, [curve], shifted, bias.astype(np.int32), 2.0**-6]

    def synthesis(self, module: ModuleType, weights: Any, threads: int = 1) -> np.ndarray:
        """The input of the last layer of h_s for the map."""
        hidden = np.zeros((16 * self.height * self.width, self.N), np.float32)
        size = (self.height, self.width)
        run(module, module.synthesis(weights, size, self.z, hidden, threads), threads)
        return hidden


def made(module: ModuleType, arguments: list[Any], instructions: str | None = None) -> Any:
    return module.hyper(*frozen(arguments), instructions)


def frozen(values: Any) -> Any:
    """Nested lists as nested tuples."""
    return tuple(frozen(value) for value in values) if isinstance(values, list) else values


def thawed(values: Any) -> Any:
    """A copy of nested lists, which shares the arrays in them."""
    return [thawed(value) for value in values] if isinstance(values, list) else values


def leaves(values: list[Any]) -> list[Place]:
    """The places of all arrays and numbers in nested lists."""
    found: list[Place] = []
    for number, value in enumerate(values):
        found += leaves(value) if isinstance(value, list) else [(values, number)]
    return found


def damaged_weights(module: ModuleType, original: Weights, random: Random) -> None:
    """Damage weights, tables or sizes. They must be refused, or give some numbers harmlessly."""
    arguments = thawed(original.arguments)
    places = leaves(arguments)
    for _ in range(random.integers(1, 3)):
        values, number = places[random.integers(0, len(places))]
        match values[number]:
            case np.ndarray() as array:
                values[number] = damaged_array(array, random) if array.size else array
            case float():
                values[number] = float(random.choice([0, -1, 0.5, np.nan, np.inf, 1e300]))
            case bool():
                values[number] = not values[number]
            case _:
                values[number] = int(random.choice([*EDGES, 1, 2, 3, 8, 16]))
    original.synthesis(module, made(module, arguments), 1 + int(random.random() < 0.1))


def damaged_map(module: ModuleType, original: Weights, random: Random) -> None:
    """Call h_s with arrays and sizes that do not fit the weights, and with any ẑ."""
    weights = made(module, original.arguments)
    cells, size = original.height * original.width, [original.height, original.width]
    hidden = np.zeros((16 * cells, original.N), np.float32)
    z, threads = original.z, 1
    match random.integers(0, 5):
        case 0:
            size[random.integers(0, 2)] = int(random.choice([*EDGES, 10**6]))
        case 1:
            z = damaged_array(z, random)
        case 2:
            hidden = damaged_array(hidden, random)
        case 3:
            z = random.integers(-(2**15), 2**15, z.shape).astype(np.int16)
        case 4:
            weights = [None, module, hidden, 5][random.integers(0, 4)]
    run(module, module.synthesis(weights, tuple(size), z, hidden, threads), threads)


SHARES = {damaged_weights: 0.7, damaged_map: 0.3}


def ending(error: Exception) -> str | None:
    """The name of a checked error. None for any other exception."""
    return f"refused ({type(error).__name__})" if isinstance(error, CHECKED) else None


def batch(module: ModuleType, random: Random, count: int) -> Counter[str]:
    """Make `count` mutations, and count how they end."""
    originals = [Weights(module, random) for _ in range(WEIGHTS)]
    return run_batch(module, random, count, originals, SHARES, ending)
