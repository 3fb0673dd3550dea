"""Finds latents that code a picture better than those of g_a, for `effort` 2 … 9.

A file costs J = bits + λ·255²·(squared error), summed over all pixels, as in equation 1 of Lu et
al. Networks are trained to make J small on average. For a single picture, other latents y are
better than those that g_a makes in one pass. Gradient descent finds them step by step:

    y ─► aims ─► wavefront, rounded by what bits cost ─► ŷ ─┬─► g_s ─► error of the pixels ─┐
           ▲                                                └─► CAM, head ─► bits ──────────┤
           └────────────────────── gradient of J with respect to ŷ ◄────────────────────────┘

The aims are the values that y should have, before rounding. Near ŷ, J is treated as a parabola in
each latent, with the same second derivative (curvature) in all. Its lowest point is
ŷ - gradient / curvature, and the aims go a part of the way there. Going all the way would be too
far: each pixel depends on many latents, and every one of them would correct the same error. The
gradient leaves out the bits of the latent itself, because these count when the wavefront rounds
the aims to ŷ. So bits and errors are always those of the file. Only the encoder does this. Any
decoder can read the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .effort import BLOCK
from .entropy.rounding import Rounding, savings_of
from .models.codec_network import lambda_at
from .models.config import STRIDE_Y
from .models.image_padding import PaddedPixels
from .models.prior import gaussian_likelihood
from .picture import Pixels
from .progress import Progress, ignored, part

if TYPE_CHECKING:
    from .codec import Codec

#: The second derivative of J with respect to a latent, in bits. For a uniform quantiser at high
#: rates 17.3 would be best. On photos it was measured as 5 to 30, depending on the channel. Using a
#: number per channel gave no better files than one number for all.
CURVATURE = 10.0
#: λ is multiplied by this in J. With 1, files would get larger at most qualities, which nobody
#: expects of more effort. With 0.8 they get smaller at low qualities, and keep their size at high
#: qualities. The BD-rate is the same: -13.1 % with 0.8, -13.0 % with 1, and -11.4 % with 0.6 (three
#: Kodak photos, tic-plus, 8 iterations).
LAMBDA_SHARE = 0.8
#: The caution before the first iteration, see `Plan.cautions`.
CAUTION = 6.0
#: Blocks of a map overlap by this many positions on each side. The gradients there are wrong by 3 %
#: or more, and are not used.
MARGIN = 4


class Plan(NamedTuple):
    """How latents are refined for an effort.

    Args:
        iterations: how often the gradient is computed. This takes nearly all of the time.
        first, last: which part of the way the aims go in the first and in the last iteration,
            0 … 1.
        caution: the last of `cautions`.
    """

    iterations: int
    first: float
    last: float
    caution: float

    def steps(self) -> list[float]:
        """Which part of the way the aims go in each iteration, from `first` down to `last`.

        Each step is smaller than the one before by the same factor. Large steps make J fall fast at
        first. Later only small steps make it fall further.
        """
        return np.geomspace(self.first, self.last, self.iterations).tolist()

    def cautions(self) -> list[float]:
        """The weight of the error in each iteration, when latents are rounded.

        It is more than 1, because the errors of several latents add up in a pixel. It goes from
        nearly `CAUTION` to `caution` in the first half of the iterations, because later iterations
        repair what earlier ones have rounded away.
        """
        shares = np.arange(1, self.iterations + 1) / self.iterations
        return (CAUTION * (self.caution / CAUTION) ** np.minimum(1, 2 * shares)).tolist()


#: The plan of each effort.
PLANS = {
    2: Plan(1, 0.1, 0.1, 9.0),
    3: Plan(2, 0.09, 0.05, 6.5),
    4: Plan(3, 0.085, 0.045, 5.5),
    5: Plan(4, 0.08, 0.04, 4.5),
    6: Plan(6, 0.08, 0.03, 4.2),
    7: Plan(8, 0.08, 0.025, 4.0),
    8: Plan(12, 0.075, 0.02, 3.7),
    9: Plan(20, 0.07, 0.015, 3.5),
}


@torch.inference_mode(False)
def refined(
    codec: Codec,
    pixels: Pixels,
    features: Tensor,
    stored: int,
    effort: int,
    progress: Progress = ignored,
) -> tuple[Tensor, Tensor]:
    """Find latents that code a picture better than those of g_a.

    The same machine with the same number of threads gives the same latents. On another machine the
    last digits of the gradients differ, and so do a few of the latents.

    Args:
        codec: the codec of the weights.
        pixels: (H, W, 3) uint8.
        features: the output of g_a for the pixels, without gains, (1, h, w, M).
        stored: the stored quality.
        effort: 2 … 9.
        progress: called from time to time with the share that is done, 0 … 1.

    Returns:
        y (h, w, M) and z (h/n, w/n, N), float32, with gains applied, on the CPU. y equals ŷ: coding
        does not change it.
    """
    plan = PLANS[effort]
    y, z = codec.scaled(features, stored)
    savings = savings_of(codec.entropy.y_tables)
    cost = Cost(codec, pixels, stored, z.round())
    aims = y.clone()
    y_hat = codec.entropy.encode_known(aims, z)[1]
    for number, (step, caution) in enumerate(zip(plan.steps(), plan.cautions(), strict=True)):
        share = part(progress, number / plan.iterations, (number + 1) / plan.iterations)
        lowest = y_hat.sub(cost.gradient(y_hat, share), alpha=1 / CURVATURE)
        aims.lerp_(lowest, step)
        errors = np.full(codec.config.M, caution * CURVATURE / 2, np.float32)
        y_hat = codec.entropy.encode_known(aims, z, Rounding(errors, savings))[1]
    codec.synthesis_gradient.release()
    progress(1)
    return y_hat, z


class Cost:
    """The cost J of a picture as a function of ŷ, see the module's docstring.

    Args:
        codec, pixels, stored: see `refined`.
        z_hat: the rounded z, (h/n, w/n, N), float32.
    """

    def __init__(self, codec: Codec, pixels: Pixels, stored: int, z_hat: Tensor) -> None:
        self.codec = codec
        self.height, self.width = pixels.shape[:2]
        self.pixels = PaddedPixels(pixels, codec.config.stride_z)
        self.down = codec.gains(stored)[1]
        lambdas = torch.tensor(codec.config.lambdas)
        trade_off = LAMBDA_SHARE * float(lambda_at(torch.tensor([codec.level(stored)]), lambdas))
        #: The cost in bits of a squared error of 1 in one channel of one pixel.
        self.weight = trade_off * 255**2 / 3
        codec.network.move_prediction(codec.device)
        with self.fast():
            self.hyper = codec.network.h_s(z_hat[None].to(codec.device))[0]

    def fast(self) -> torch.autocast:
        """A context in which the bits are computed in the codec's float type."""
        bf16 = self.codec.dtype == torch.bfloat16
        return torch.autocast(self.codec.device.type, torch.bfloat16, enabled=bf16)

    def gradient(self, y_hat: Tensor, progress: Progress = ignored) -> Tensor:
        """The gradient of J, in bits, with respect to ŷ. Both are (h, w, M), on the CPU."""
        gradient = torch.empty_like(y_hat)
        height, width = y_hat.shape[:2]
        tiles = [(rows, columns) for rows in tiles_of(height) for columns in tiles_of(width)]
        for number, (rows, columns) in enumerate(tiles):
            progress(number / len(tiles))
            block = self.block(y_hat, rows.seen, columns.seen)
            gradient[rows.tile, columns.tile] = block[rows.inside, columns.inside]
        return gradient

    def block(self, y_hat: Tensor, rows: slice, columns: slice) -> Tensor:
        """The gradient for a block of ŷ, (rows, columns, M), as if it were the whole picture."""
        device, network = self.codec.device, self.codec.network
        latents = y_hat[None, rows, columns].to(device, copy=True)
        with torch.enable_grad():
            leaf = (latents * self.down.to(device)).requires_grad_()
            y = network.synthesis_input(leaf, self.codec.dtype)
            above = self.codec.synthesis_gradient(
                y.detach(), lambda x: self.of_pixels(x, rows.start, columns.start)
            )
            (found,) = torch.autograd.grad(y, leaf, above)
        found = found * self.down.to(device)
        return (found + self.of_context(latents, rows, columns))[0].cpu()

    def of_pixels(self, x: Tensor, row: int, column: int) -> Tensor:
        """The gradient of the pixels' error with respect to the output of g_s for a block.

        Args:
            x: the output of g_s, pixels minus ½, (1, H, W, 3), float32. The gradient has its shape.
            row, column: where the block begins, in latents.
        """
        top, left = row * STRIDE_Y, column * STRIDE_Y
        wanted = self.pixels.rows(top, top + x.shape[1])[:, left : left + x.shape[2]]
        error = x.clamp(-0.5, 0.5) - wanted.to(x.device)
        error[:, max(0, self.height - top) :] = 0  # the padding is not part of the picture
        error[:, :, max(0, self.width - left) :] = 0
        return error.mul_(2 * self.weight)

    def of_context(self, latents: Tensor, rows: slice, columns: slice) -> Tensor:
        """The gradient of the bits of later latents, whose means and scales depend on these.

        Args:
            latents: a block of ŷ, (1, h, w, M), float32. The gradient has its shape.
        """
        hyper = self.hyper[None, rows, columns]
        with torch.enable_grad(), self.fast():
            leaf = latents.clone().requires_grad_()
            scales, means = self.codec.network.predicted(hyper, leaf)
            if not scales.requires_grad:
                return torch.zeros_like(latents)  # means and scales depend on z only
            bits = -gaussian_likelihood(latents, means, scales).log2().sum()
            (found,) = torch.autograd.grad(bits, leaf)
        return found


class Tile(NamedTuple):
    """A part of the rows or columns of a map.

    Args:
        tile: the part.
        seen: the part with its margins.
        inside: where `tile` lies in `seen`.
    """

    tile: slice
    seen: slice
    inside: slice


def tiles_of(size: int) -> Iterator[Tile]:
    """Cut a side of `size` positions into tiles. A side of at most `BLOCK` is a single tile."""
    step = size if size <= BLOCK else BLOCK - 2 * MARGIN
    for start in range(0, size, step):
        end = min(start + step, size)
        first, last = max(0, start - MARGIN), min(end + MARGIN, size)
        yield Tile(slice(start, end), slice(first, last), slice(start - first, end - first))
