"""The joint model's h_s on integers: ẑ to the mean and scale of every latent, in one pass.

It has the structure of h_s in `models.icat`. There is no context model, so nothing waits for ŷ:

    ẑ ─► conv 5×5 ─► LeakyReLU ─► deconv 5×5 s2 ─► LeakyReLU ─► conv 3×3 ─► means, scales
                                                                                │
    for each row of y:          symbols ◄──────── coder ◄───────────────────────┘
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ticodec.models.config import IcatConfig

from .exact import LONG, NARROW, WIDE, Fixed, Ops
from .latent_coder import LatentMap, PositionCoder
from .tic_context import MEAN_BITS, SCALE_BITS, SCALE_LIMIT, scale_indexes
from .tic_hyper import gather, insert_zeros

#: STRIP rows of z go through h_s together. Their results depend on HALO more rows on either side:
#: 2 for the first layer, and 1 for each of the others, which reach at most 2 rows of y.
STRIP, HALO = 16, 4


def mean_scale(ops: Ops, z: Tensor) -> tuple[Tensor, Tensor]:
    """ẑ (B, h/2, w/2, N), integers, to means and raw scales (B, h, w, M) of y.

    They are integers in float64, in units of 2^-8 and 2^-12, like the results of `Context.predict`.
    """
    x = Fixed(z.double().clamp(-NARROW, NARROW), 0)
    x = ops.leaky_relu(ops.linear("h_s.in", Fixed(gather(x.ints, 5), x.frac), LONG))
    x = ops.leaky_relu(ops.linear("h_s.up", Fixed(gather(insert_zeros(x.ints), 5), x.frac), LONG))
    rows = Fixed(gather(x.ints, 3), x.frac)
    means = ops.linear("h_s.means", rows, WIDE, MEAN_BITS)
    scales = ops.linear("h_s.scales", rows, SCALE_LIMIT, SCALE_BITS)
    return means.ints, scales.ints


def run_rows(ops: Ops, z: Tensor, thresholds: Tensor, coder: PositionCoder) -> Tensor:
    """Codes a map of latents in either direction, one row at a time.

    Args:
        ops: the compiled layers.
        z: ẑ (h/2, w/2, N), integers.
        thresholds: the thresholds between the scale tables, (tables - 1,), float64.
        coder: codes the positions of a row.
    Returns: ŷ (h·w, M), float64 integers in units of 2^-8.
    """
    coded = []
    width = 2 * z.shape[1]
    # Strips bound the memory, because gathered neighbourhoods are 25 times as large as the map.
    for top in range(0, len(z), STRIP):
        first, end = max(0, top - HALO), min(len(z), top + STRIP)
        means, scales = mean_scale(ops, z[None, first : end + HALO])
        inside = slice(2 * (top - first), 2 * (end - first))
        pairs = zip(means[0, inside], scales[0, inside], strict=True)
        for row, (mean, scale) in enumerate(pairs, 2 * top):
            positions = torch.arange(row * width, (row + 1) * width, device=z.device)
            symbols = coder(positions, mean * 2.0**-MEAN_BITS, scale_indexes(scale, thresholds))
            coded.append(symbols * 2.0**MEAN_BITS + mean)
    return torch.cat(coded)


class IcatLatentCoder:
    """The `LatentCoder` of the joint model.

    Args:
        ops: the compiled layers.
        config: the network's dimensions.
        thresholds: the thresholds between the scale tables, (tables - 1,), float64.
    """

    def __init__(self, ops: Ops, config: IcatConfig, thresholds: Tensor) -> None:
        self.ops, self.thresholds = ops, thresholds
        # If a layer is missing or does not fit, this raises now and not at the first image.
        mean_scale(ops, torch.zeros(1, 1, 1, config.N, device=ops.device))

    def run(self, maps: Sequence[LatentMap]) -> None:
        """Codes the maps one after the other, one row at a time."""
        for latents in maps:
            found = run_rows(self.ops, latents.z_hat, self.thresholds, latents.stream.code)
            if latents.y_hat is not None:
                latents.y_hat.copy_(found * 2.0**-MEAN_BITS)
