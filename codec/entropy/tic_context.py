"""CAM and entropy head on integers: from the neighbours' ŷ to mean and scale index.

The structure is that of `models.cam`, with two changes. The compiler has merged the CAM's last
Linear into the head's first convolution. And the half of this convolution that reads the hyper
features is applied to the whole map at once (`hyper_part`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ticodec.models.cam import EARLIER
from ticodec.models.config import ModelConfig

from .exact import LONG, PROBABILITY_BITS, WIDE, Fixed, Ops, round_to

#: Fractional bits of means and of raw scales. ŷ has as many as the means.
MEAN_BITS, SCALE_BITS = 8, 12
#: Raw scales are only compared, never multiplied. So they may go up to 512, which is larger than
#: the scale of any table.
SCALE_LIMIT = 512 << SCALE_BITS
#: The attention sees ŷ clamped to this: 19 bits, ±1023 latent steps.
Y_LIMIT = WIDE


class Context:
    """Predicts means and scales of latents whose earlier neighbours are known.

    Args:
        ops: the compiled layers.
        c: the network's dimensions.
    """

    def __init__(self, ops: Ops, c: ModelConfig) -> None:
        self.ops, self.M, self.heads = ops, c.M, c.cam_heads
        masked = self.qkv(torch.zeros(1, c.M, dtype=torch.float64, device=ops.device))
        self.masked = masked.ints[0]  # (3M,): q, k, v of a zero token
        self.qkv_frac = masked.frac

    def qkv(self, y_hat: Tensor) -> Fixed:
        """q, k, v of tokens (..., M) of ŷ on the grid of means, (..., 3M)."""
        normal = self.ops.norm(Fixed(y_hat.clamp(-Y_LIMIT, Y_LIMIT), MEAN_BITS))
        return self.ops.linear("cam.qkv", normal)

    def hyper_part(self, hyper: Fixed) -> Tensor:
        """The half of the head's first layer that reads the hyper features.

        (..., 2M) to (..., 10M/3). The result is not rounded yet.
        """
        weight, bias, _ = self.ops.layer("head.hyper")
        return hyper.ints @ weight + bias

    def predict(self, near: Tensor, near_y: Tensor, hyper: Tensor) -> tuple[Tensor, Tensor]:
        """Means and raw scales of P positions.

        Args:
            near: q, k, v of the 12 earlier neighbours of each position, (P, 12, 3M).
            near_y: ŷ of these neighbours, (P, 12, M), on the grid of means.
            hyper: the rows of `hyper_part` at these positions, (P, 10M/3).
        Returns: (means, scales), integers in float64, (P, M) each, in units of 2^-8 and 2^-12.
        """
        ops = self.ops
        x = ops.mlp("cam", self.residual(self.attend(near), near_y), LONG)
        weight, _, frac = ops.layer("head.context")
        hidden = (torch.addmm(hyper, x.ints, weight)).round_().clamp_(-LONG, LONG)
        h = ops.gelu(ops.linear("head.conv2", ops.gelu(Fixed(hidden, frac)), LONG))
        scales = ops.linear("head.scales", h, SCALE_LIMIT, SCALE_BITS)
        means = ops.linear("head.means", h, WIDE, MEAN_BITS)
        return means.ints, scales.ints

    def attend(self, near: Tensor) -> Tensor:
        """Attention in each 5×5 neighbourhood, summed over its 25 queries.

        (P, 12, 3M) to (P, M), in units of 2^-(15 + fractional bits of q, k, v).
        """
        p, d = near.shape[0], self.M // self.heads
        masked = self.masked.expand(p, 1, 3 * self.M)
        tokens = torch.cat([near, masked], 1)  # (P, 13, 3M)
        q, k, v = tokens.reshape(p, 13, 3, self.heads, d).permute(2, 0, 3, 1, 4)
        scores = self.ops.scores(q, k, self.qkv_frac)  # (P, heads, 13, 13)
        # The 13 masked tokens share one query, but each has its own biases.
        rows = [scores[:, :, :EARLIER], scores[:, :, EARLIER:].expand(-1, -1, 13, -1)]
        scores = torch.cat(rows, 2) + self.ops.parameter("cam.bias").double()
        summed = self.ops.softmax(scores).sum(2, keepdim=True)  # over queries: (P, heads, 1, 13)
        return (summed @ v).reshape(p, self.M)

    def residual(self, attended: Tensor, near_y: Tensor) -> Fixed:
        """The result of `attend` plus the sum of the neighbours' ŷ (P, 12, M): (P, M).

        The sum is on the CAM's own grid.
        """
        frac = int(self.ops.parameters["cam.frac"])
        y = round_to(near_y.sum(1), frac - MEAN_BITS, LONG)
        a = round_to(attended, frac - PROBABILITY_BITS - self.qkv_frac, LONG)
        return self.ops.add(Fixed(y, frac), Fixed(a, frac), LONG)


def scale_indexes(scales: Tensor, thresholds: Tensor) -> Tensor:
    """The number of the table of every raw scale, int64, of any shape.

    It is the number of thresholds that are not above the scale.
    """
    return torch.searchsorted(thresholds, scales, right=True)
