"""Makes the integer tables that weights files store.

A table follows a model, which is a gaussian or the trained prior, or it is fitted to symbols that
were counted.

Only export runs this module. Coding never computes a probability: it reads these stored integers,
so two machines cannot disagree about them.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ticodec.entropy.exact import (
    EXP_BITS,
    EXP_SIZE,
    GELU_BITS,
    GELU_REACH,
    GELU_VALUE_BITS,
    SCORE_BITS,
)
from ticodec.entropy.rans import TOTAL
from ticodec.entropy.tic_context import SCALE_BITS
from ticodec.models.prior import SCALE_MIN, FactorizedPrior
from ticodec.training.symbol_counts import REACH_Y, REACH_Z

#: Number of tables for standard deviations from 0.11 to FINE_MAX, and from there to SCALE_MAX. Both
#: ranges are log-spaced. Ballé et al. have 64 tables from 0.11 to 256. Nearly all latents are in
#: the lower range. A finer grid there costs little time and saves 0.4 % of a small file.
FINE_SCALES, FINE_MAX = 60, 4.0
COARSE_SCALES, SCALE_MAX = 32, 256.0
#: A table is so wide that at most this probability lies beyond it, as far as HALF_MAX allows.
TAIL = 1e-6
#: The least and the greatest half-width of a table. A table has 2 · half-width + 1 symbols.
HALF_MIN, HALF_MAX = 3, 255
#: This many symbols, distributed as in the model, are added to the counts of each table.
MODELLED = 500.0


def scale_grid() -> NDArray[np.float64]:
    """The standard deviations that have a table, 0.11 … 256, (92,)."""
    fine = np.geomspace(SCALE_MIN, FINE_MAX, FINE_SCALES, endpoint=False)
    return np.concatenate([fine, np.geomspace(FINE_MAX, SCALE_MAX, COARSE_SCALES)])


def scale_thresholds() -> Tensor:
    """The scales from which on the next table is used, in units of 2^-12: (91,), int32."""
    grid = scale_grid()
    middle = np.sqrt(grid[1:] * grid[:-1])
    return torch.from_numpy(np.round(middle * 2**SCALE_BITS).astype(np.int32))


def integer_frequencies(pmf: NDArray[np.float64]) -> NDArray[np.int64]:
    """Positive integers whose sum is 65536, as close as possible to these probabilities."""
    pmf = pmf / pmf.sum()
    frequencies = np.maximum(1, np.round(pmf * TOTAL)).astype(np.int64)
    while (off := TOTAL - int(frequencies.sum())) != 0:
        # Spread the difference over the largest frequencies, where it costs the fewest bits.
        order = np.argsort(-frequencies, kind="stable")[: abs(off)]
        frequencies[order[(off > 0) | (frequencies[order] > 1)]] += int(math.copysign(1, off))
    return frequencies


def mass_above(x: float, scale: float) -> float:
    """The probability that a gaussian of mean 0 and standard deviation `scale` is above x."""
    return 0.5 * math.erfc(x / scale / math.sqrt(2))


def gaussian_tables(counts: Tensor | None = None) -> dict[str, Tensor]:
    """The tables of y: `halves` (92,), which are the half-widths, and `frequencies`.

    The first and the last symbol of a table also have the probability of all symbols beyond them.

    Args:
        counts: counts of the symbols of each table, (92, 511), see `SymbolCounts`. A table is
            fitted to its counts and made symmetric. If it has few counts, it stays close to its
            gaussian. None means that all tables are those of gaussians.
    """
    halves, frequencies = [], []
    for number, scale in enumerate(scale_grid()):
        half = HALF_MIN
        while half < HALF_MAX and 2 * mass_above(half - 0.5, scale) > TAIL:
            half += 1
        edges = [mass_above(v - 0.5, scale) for v in range(-half + 1, half + 1)]
        mass = -np.diff(np.array([1.0, *edges, 0.0]))
        if counts is not None:
            seen = within(counts[number].numpy(), REACH_Y, half)
            mass = fitted(mass, (seen + seen[::-1]) / 2)
        halves.append(half)
        frequencies.append(integer_frequencies(mass))
    return _pack(halves, frequencies)


def fitted(mass: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities (n,) that sum to 1, from counts and `MODELLED` symbols of the model.

    Args:
        mass: the model's probabilities, (n,), which sum to 1.
        counts: how often each symbol was counted, (n,).
    """
    return (counts + MODELLED * mass) / (counts.sum() + MODELLED)


def within(counts: NDArray[np.int64], middle: int, half: int) -> NDArray[np.float64]:
    """The counts of the 2·half + 1 symbols around the column `middle`.

    The first and the last one include the counts of all symbols beyond them.
    """
    inner = counts[middle - half : middle + half + 1].astype(np.float64)
    inner[0] += counts[: middle - half].sum()
    inner[-1] += counts[middle + half + 1 :].sum()
    return inner


@torch.no_grad()
def prior_tables(
    prior: FactorizedPrior, counts: Tensor | None = None
) -> tuple[dict[str, Tensor], Tensor]:
    """The tables of z, one per channel, and the centre of each channel's table, (N,).

    Args:
        prior: the trained prior.
        counts: counts of rounded z for each channel, (N, 2041). Tables are fitted to them as in
            `gaussian_tables`, but are not made symmetric. None means that all tables are those of
            the prior.
    """
    reach = REACH_Z
    at = torch.arange(-reach, reach + 1).double() - 0.5
    exact = prior.double()
    channels = exact.matrices[0].shape[0]
    below = exact.logits(at.expand(channels, 1, -1))[:, 0].sigmoid().numpy()  # P(z < at)
    prior.float()
    halves, frequencies, centres = [], [], []
    for channel, cumulative in enumerate(below):
        centre = int(np.clip(np.searchsorted(cumulative, 0.5) - 1, HALF_MAX, 7 * HALF_MAX))
        half = HALF_MIN
        while half < HALF_MAX and (
            cumulative[centre - half + 1] + 1 - cumulative[centre + half] > TAIL
        ):
            half += 1
        inner = cumulative[centre - half + 1 : centre + half + 1]
        mass = np.diff(np.array([0.0, *inner, 1.0]))
        if counts is not None:
            mass = fitted(mass, within(counts[channel].numpy(), centre, half))
        halves.append(half)
        frequencies.append(integer_frequencies(mass))
        centres.append(centre - reach)
    return _pack(halves, frequencies), torch.tensor(centres, dtype=torch.int32)


def _pack(halves: list[int], frequencies: list[NDArray[np.int64]]) -> dict[str, Tensor]:
    return {
        "halves": torch.tensor(halves, dtype=torch.int32),
        "frequencies": torch.from_numpy(np.concatenate(frequencies).astype(np.int32)),
    }


def exp_table() -> Tensor:
    """round(2^16 · exp(-i / 2^10)), (16384,), int32."""
    i = np.arange(EXP_SIZE)
    return torch.from_numpy(np.round(2**EXP_BITS * np.exp(-i / 2**SCORE_BITS)).astype(np.int32))


def gelu_table() -> Tensor:
    """GELU(x) - x for x = i / 2^11 in [0, 6), in units of 2^-15, (12288,), int16."""
    x = [i / 2**GELU_BITS for i in range(GELU_REACH * 2**GELU_BITS)]
    curve = [-v * 0.5 * math.erfc(v / math.sqrt(2)) * 2**GELU_VALUE_BITS for v in x]
    return torch.tensor([round(value) for value in curve], dtype=torch.int16)
