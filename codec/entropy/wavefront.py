"""The wavefront: y is coded in diagonal steps. One function serves both directions.

The context of a position is its 12 earlier neighbours, within two rows and two columns.
Position (i, j) goes into step t = j + 3i. Then all its neighbours are in earlier steps, and the
positions of one step do not depend on each other. So they go through the network together.

        j   0  1  2  3  4  5
    i 0     0  1  2  3  4  5        W + 3·(H - 1) steps instead of H·W:
      1     3  4  5  6  7  8        141 instead of 1,536 for 768×512 pixels
      2     6  7  8  9 10 11

Each step:   neighbours' q, k, v ─► CAM, head ─► means, scale indexes ─► coder ─► symbols
                     ▲                             │                                │
                     └── LN, qkv ◄── ŷ = symbol + mean ◄────────────────────────────┘
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import NamedTuple

import torch
from torch import Tensor

from ticodec.models.cam import NEIGHBOURS, REACH

from .latent_coder import PositionCoder
from .tic_context import MEAN_BITS, Context, scale_indexes


def steps(height: int, width: int) -> Iterator[Tensor]:
    """Yields the positions of each step as raster numbers, the top row first."""
    for t in range(width + 3 * (height - 1)):
        rows = torch.arange(max(0, (t - width + 3) // 3), min(height - 1, t // 3) + 1)
        if len(rows):  # maps of fewer than 3 columns have steps without positions
            yield rows * width + t - 3 * rows


def width_of_steps(height: int, width: int) -> float:
    """The mean number of positions in a step of a map, which can be coded at once."""
    return height * width / (width + 3 * (height - 1))


class Map(NamedTuple):
    """A map of latents to be coded.

    Args:
        hyper: `Context.hyper_part` of the map, (height·width, 10M/3).
        height, width: the size of the map of y.
        coder: codes the positions of a step.
    """

    hyper: Tensor
    height: int
    width: int
    coder: PositionCoder


def run_wavefront(context: Context, thresholds: Tensor, maps: list[Map]) -> list[Tensor]:
    """Codes maps of latents in either direction.

    Several maps go through the network together, step by step, because a step of one map is too
    small to keep a processor busy. Sums are exact in any order, so the symbols of a map do not
    depend on the other maps.

    Args:
        context: the compiled CAM and head.
        thresholds: the thresholds between the scale tables, (tables - 1,), float64.
        maps: the maps, of any sizes.
    Returns: ŷ of each map, (height·width, M), float64 integers in units of 2^-8.
    """
    channels, device = context.M, context.ops.device
    # Each map has a border of zero tokens on all sides. The border is as wide as the context.
    cells = [(latents.height + 2 * REACH) * (latents.width + 2 * REACH) for latents in maps]
    starts = [sum(cells[:number]) for number in range(len(maps))]
    qkv = context.masked.repeat(sum(cells), 1)
    y_hat = torch.zeros(sum(cells), channels, dtype=torch.float64, device=device)
    inside = [_inside(latents, start, device) for latents, start in zip(maps, starts, strict=True)]
    offsets = [_offsets(latents.width, device) for latents in maps]
    order = [steps(latents.height, latents.width) for latents in maps]
    for step in zip_longest(*order):
        live = [(k, p.to(device)) for k, p in enumerate(step) if p is not None and len(p)]
        if not live:
            continue
        cell = torch.cat([inside[k][p] for k, p in live])  # (P,): P positions in all maps together
        around = torch.cat([(inside[k][p, None] + offsets[k]).flatten() for k, p in live])
        near = qkv.index_select(0, around).reshape(len(cell), len(NEIGHBOURS), 3 * channels)
        near_y = y_hat.index_select(0, around).reshape(len(cell), len(NEIGHBOURS), channels)
        hyper = torch.cat([maps[k].hyper[p] for k, p in live])
        means, scales = context.predict(near, near_y, hyper)
        indexes = scale_indexes(scales, thresholds)
        counts = [len(p) for _, p in live]
        in_latents = (means * 2.0**-MEAN_BITS).split(counts)
        shares = zip(live, in_latents, indexes.split(counts), strict=True)
        symbols = torch.cat([maps[k].coder(p, mean, index) for (k, p), mean, index in shares])
        new = symbols * 2.0**MEAN_BITS + means
        y_hat[cell] = new
        qkv[cell] = context.qkv(new).ints
    return [y_hat[positions] for positions in inside]


def _inside(latents: Map, start: int, device: torch.device) -> Tensor:
    """The cell of each position of a map, (height·width,). The map's cells begin at `start`."""
    position = torch.arange(latents.height * latents.width, device=device)
    row, column = position // latents.width + REACH, position % latents.width + REACH
    return start + row * (latents.width + 2 * REACH) + column


def _offsets(width: int, device: torch.device) -> Tensor:
    """The offsets from a cell to the cells of its 12 neighbours, (12,)."""
    stride = width + 2 * REACH
    return torch.tensor([dy * stride + dx for dy, dx in NEIGHBOURS], device=device)
