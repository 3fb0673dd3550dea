"""The wavefront: y is coded in diagonal steps, one function for both directions.

The context of a position is 12 earlier neighbours, two rows up and two columns left.
Position (i, j) goes into step t = j + 3i: then its neighbours are all in earlier steps,
and all positions of one step are independent, so they go through the network together.

        j   0  1  2  3  4  5
    i 0     0  1  2  3  4  5        W + 3·(H - 1) steps instead of H·W:
      1     3  4  5  6  7  8        141 instead of 1,536 for 768×512 pixels
      2     6  7  8  9 10 11

Each step:   neighbours' q, k, v ─► CAM, head ─► means, scale indexes ─► coder ─► symbols
                     ▲                             │                                │
                     └── LN, qkv ◄── ŷ = symbol + mean ◄────────────────────────────┘
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ticodec.models.context import NEIGHBOURS, REACH

from .context import MEAN_BITS, Context, scale_indexes

#: Codes one step: (positions (P,), means (P, M) in latent units, indexes (P, M)) to symbols (P, M).
Coder = Callable[[Tensor, Tensor, Tensor], Tensor]


def steps(height: int, width: int) -> Iterator[Tensor]:
    """Raster numbers of the positions of each step, top row first."""
    for t in range(width + 3 * (height - 1)):
        rows = torch.arange(max(0, (t - width + 3) // 3), min(height - 1, t // 3) + 1)
        if len(rows):  # maps narrower than 3 have steps without positions
            yield rows * width + t - 3 * rows


def run_wavefront(
    context: Context, hyper: Tensor, thresholds: Tensor, height: int, width: int, coder: Coder
) -> Tensor:
    """Code a map of latents in either direction.

    Args:
        context: the compiled CAM and head.
        hyper: `Context.hyper_part` of the map, (height·width, 10M/3).
        thresholds: of the scale tables, (tables - 1,), float64.
        height, width: of the latent map.
        coder: quantises and writes the symbols of a step (encoding) or reads them.
    Returns: ŷ (height·width, M), float64 integers in units of 2^-8.
    """
    m, device = context.M, context.ops.device
    stride = width + 2 * REACH
    # A border of zero tokens on all sides, as wide as the context reaches.
    cells = (height + 2 * REACH) * stride
    qkv = context.masked.repeat(cells, 1)
    y_hat = torch.zeros(cells, m, dtype=torch.float64, device=device)
    offsets = torch.tensor([dy * stride + dx for dy, dx in NEIGHBOURS], device=device)
    inside = torch.arange(height * width, device=device)
    inside = (inside // width + REACH) * stride + inside % width + REACH
    for positions in steps(height, width):
        positions = positions.to(device)
        cell = inside[positions]  # (P,)
        around = (cell[:, None] + offsets).flatten()
        near = qkv.index_select(0, around).reshape(len(cell), len(NEIGHBOURS), 3 * m)
        near_y = y_hat.index_select(0, around).reshape(len(cell), len(NEIGHBOURS), m)
        means, scales = context.predict(near, near_y, hyper[positions])
        symbols = coder(positions, means * 2.0**-MEAN_BITS, scale_indexes(scales, thresholds))
        new = symbols * 2.0**MEAN_BITS + means
        y_hat[cell] = new
        qkv[cell] = context.qkv(new).ints
    return y_hat[inside]
