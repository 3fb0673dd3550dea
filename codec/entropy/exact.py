"""Networks on integers: the same bits on every machine.

A float network gives slightly different numbers if the thread count, the CPU or the GPU
changes, because the order of its additions changes. Here every tensor holds **integers
carried in float64**. They stand for values on a fixed-point grid. Every machine rounds
to this grid in the same way:

    integers x ──► x @ W ──► exact sum, any order ──► round to the grid ──► clamp ──► integers
   16…25 bits     16 bits       below 2⁵³            half to even

  * A sum of products of activations (16 to 25 bits) and weights (16 bits) stays below 2⁵³.
    float64 represents every integer below 2⁵³ exactly. So the sum does not depend on the order
    of summation, on fused multiply-adds or on the number of threads. (Weights carry a
    power-of-two factor. The argument is the same in units of that factor.
    `training/export/compile.py` checks the bound for every output.)
  * Between products there are only single IEEE operations on float64: + - × ÷, sqrt, rounding and
    comparing. Each of them is correctly rounded on every machine. exp and GELU are integer tables.
    No library exp, no float reduction and no convolution primitive is used.

`Ops` runs compiled networks. Their structure is in `tic_hyper`, `tic_context` and `icat_rows`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ticodec.models.attention import shift_regions
from ticodec.models.swin import partition, unpartition

#: The largest absolute values of activations. NARROW (16 bits with the sign) is for activations
#: that are multiplied with each other. WIDE (19 bits) is for residuals, which feed LayerNorm.
#: LONG (25 bits) is for activations that have outliers and are multiplied by weights only.
NARROW, WIDE, LONG = 2**15 - 1, 2**18 - 1, 2**24 - 1
LONG_SPARE = 6  # low bits that a LONG residual drops before LayerNorm, which takes 19 bits
#: Fractional bits of a normalised token, of attention scores, of exp and of probabilities.
NORM_BITS, SCORE_BITS, EXP_BITS, PROBABILITY_BITS = 11, 10, 16, 15
#: The table of exp has exp(-i / 2¹⁰) for 0 ≤ i < EXP_SIZE. The table of GELU has D(x), see
#: `Ops.gelu`, for 0 ≤ x < GELU_REACH in steps of 2^-GELU_BITS. Its values have GELU_VALUE_BITS
#: fractional bits.
EXP_SIZE, GELU_BITS, GELU_VALUE_BITS, GELU_REACH = 2**14, 11, 15, 6
LEAKY_BITS, LEAKY_SLOPE = 15, 328  # the slope is 328 / 2¹⁵, about 0.01
NEVER = -float(2**40)  # the score of two tokens of one window that must not see each other


class Fixed(NamedTuple):
    """A tensor of integers in float64. Its values are ints · 2^-frac."""

    ints: Tensor
    frac: int


def round_to(ints: Tensor, shift: int, limit: int) -> Tensor:
    """ints · 2^shift rounded half to even and clamped to ±limit."""
    return torch.round(ints * 2.0**shift).clamp_(-limit, limit)


class Ops:
    """Runs layers whose integer parameters are in a mapping.

    Layer `n` has n.weight (out, in) int16, n.exponent (out,) int16, n.bias (out,) int64
    and n.frac () int. It computes round((x @ weightᵀ + bias) · 2^exponent), on a grid of
    frac fractional bits. All layers share the tables `exp` and `gelu`.

    Args:
        parameters: maps names to tensors.
        device: where to run. Every device gives the same bits.

    Raises KeyError or ValueError if a table is missing or has the wrong size.
    """

    def __init__(self, parameters: Mapping[str, Tensor], device: torch.device) -> None:
        self.device = device
        self.parameters = dict(parameters)
        self.layers: dict[str, tuple[Tensor, Tensor, int]] = {}
        self.gelu_tables: dict[int, Tensor] = {}
        self.exp = self.parameter("exp").double()
        for name, size in (("exp", EXP_SIZE), ("gelu", GELU_REACH << GELU_BITS)):
            if name in parameters and len(parameters[name]) != size:
                raise ValueError(f"the table of {name} has the wrong size")

    def parameter(self, name: str) -> Tensor:
        """The stored tensor of this name, on the device."""
        return self.parameters[name].to(self.device)

    def layer(self, name: str) -> tuple[Tensor, Tensor, int]:
        """Weight (in, out), bias (out,), both times 2^exponent, and the output's frac."""
        if name not in self.layers:
            exponent = self.parameters[name + ".exponent"].cpu().numpy().astype(np.int32)
            factor = torch.from_numpy(np.ldexp(1.0, exponent)).to(self.device)
            weight = self.parameter(name + ".weight").double() * factor[:, None]
            bias = self.parameter(name + ".bias").double() * factor
            frac = int(self.parameters[name + ".frac"])
            self.layers[name] = (weight.t().contiguous(), bias, frac)
        return self.layers[name]

    def linear(self, name: str, x: Fixed, limit: int = NARROW, frac: int | None = None) -> Fixed:
        """Layer `name` of x: (..., in) to (..., out), clamped to ±limit.

        `frac` is the number of fractional bits that the caller needs. Only the compiler reads it,
        because a compiled layer has its own.
        """
        weight, bias, out = self.layer(name)
        summed = torch.addmm(bias, x.ints.reshape(-1, x.ints.shape[-1]), weight)
        rounded = summed.round_().clamp_(-limit, limit)
        return Fixed(rounded.reshape(*x.ints.shape[:-1], -1), out)

    def norm(self, x: Fixed) -> Fixed:
        """LayerNorm without its affine part, which the compiler merged into the next layer.

        It is (C·x - Σx) / sqrt(C·Σx² - (Σx)² + ε). All sums are exact, because x has at most
        19 bits and C is checked.
        """
        c = x.ints.shape[-1]
        if (c * WIDE) ** 2 >= 2**53:
            raise ValueError(f"{c} channels are too many to normalise exactly; the limit is 362")
        total = x.ints.sum(-1, keepdim=True)
        squares = (x.ints * x.ints).sum(-1, keepdim=True)
        variance = c * squares - total * total + self.epsilon(c, x.frac)
        normal = (c * x.ints - total) / torch.sqrt(variance)
        return Fixed(round_to(normal, NORM_BITS, NARROW), NORM_BITS)

    @staticmethod
    def epsilon(channels: int, frac: int) -> float:
        """LayerNorm's ε = 10⁻⁵, in the units that C² times a variance has in `norm`."""
        return max(1.0, float(round(1e-5 * channels * channels * 4**frac)))

    def scores(self, q: Tensor, k: Tensor, frac: int) -> Tensor:
        """q kᵀ on the grid of scores. The weights of q contain the factor 1/√d."""
        return torch.round((q @ k.transpose(-2, -1)) * 2.0 ** (SCORE_BITS - 2 * frac))

    def softmax(self, scores: Tensor) -> Tensor:
        """Softmax over the last axis: scores in units of 2^-10, probabilities in 2^-15."""
        below = (scores.amax(-1, keepdim=True) - scores).clamp_(max=EXP_SIZE - 1)
        weights = self.exp[below.long()]
        total = weights.sum(-1, keepdim=True)
        return torch.round(weights * 2.0**PROBABILITY_BITS / total)

    def gelu(self, x: Fixed) -> Fixed:
        """GELU(x) = relu(x) + D(|x|), D from a table. x.frac is at most GELU_BITS."""
        table = self.gelu_table(x.frac)
        index = x.ints.abs().clamp_(max=len(table) - 1).long()
        return Fixed(x.ints.clamp(min=0) + table[index], x.frac)

    def gelu_table(self, frac: int) -> Tensor:
        """D on a grid of frac bits. Its last entry is 0 and serves all |x| ≥ GELU_REACH.

        Raises ValueError if frac is above GELU_BITS.
        """
        if frac > GELU_BITS:
            raise ValueError(f"GELU has no grid of {frac} bits")
        if frac not in self.gelu_tables:
            curve = self.parameter("gelu").double()[:: 2 ** (GELU_BITS - frac)]
            table = round_to(curve, frac - GELU_VALUE_BITS, NARROW)
            self.gelu_tables[frac] = torch.cat([table, table.new_zeros(1)])
        return self.gelu_tables[frac]

    def leaky_relu(self, x: Fixed) -> Fixed:
        """LeakyReLU with slope 328 / 2¹⁵."""
        low = torch.round(x.ints * (LEAKY_SLOPE * 2.0**-LEAKY_BITS))
        return Fixed(torch.where(x.ints < 0, low, x.ints), x.frac)

    def add(self, x: Fixed, y: Fixed, limit: int = WIDE) -> Fixed:
        """x + y, clamped to ±limit. Raises ValueError if they are on different grids."""
        if x.frac != y.frac:
            raise ValueError("a residual is on another grid")
        return Fixed((x.ints + y.ints).clamp_(-limit, limit), x.frac)

    def swin_layer(self, name: str, x: Fixed, heads: int, window: int, shift: int) -> Fixed:
        """One Swin layer on (B, H, W, C). H and W are multiples of the window."""
        b, h, w, c = x.ints.shape
        n = self.norm(x).ints
        if shift:
            n = n.roll((-shift, -shift), (1, 2))
        qkv = self.linear(name + ".qkv", Fixed(partition(n, window), NORM_BITS))
        count, t, _ = qkv.ints.shape
        q, k, v = qkv.ints.reshape(count, t, 3, heads, c // heads).permute(2, 0, 3, 1, 4)
        scores = self.scores(q, k, qkv.frac) + self.parameter(name + ".bias").double()
        if shift:
            regions = shift_regions(h, w, window).to(self.device)
            apart = regions[:, :, None] != regions[:, None, :]  # (nW, T, T)
            scores = scores.reshape(b, -1, heads, t, t)
            scores = scores.masked_fill(apart[None, :, None], NEVER)
            scores = scores.reshape(count, heads, t, t)
        y = round_to(self.softmax(scores) @ v, -PROBABILITY_BITS, NARROW)
        y = y.transpose(1, 2).reshape(count, t, c)
        projected = self.linear(name + ".proj", Fixed(y, qkv.frac), limit=WIDE, frac=x.frac)
        y = unpartition(projected.ints, window, h, w)
        if shift:
            y = y.roll((shift, shift), (1, 2))
        return self.mlp(name, self.add(x, Fixed(y, projected.frac)))

    def mlp(self, name: str, x: Fixed, limit: int = WIDE) -> Fixed:
        """x + MLP(LayerNorm(x)) of (..., C). `limit` says whether x is WIDE or LONG."""
        spare = LONG_SPARE if limit == LONG else 0
        normal = self.norm(Fixed(round_to(x.ints, -spare, WIDE), x.frac - spare))
        hidden = self.gelu(self.linear(name + ".mlp1", normal))
        return self.add(x, self.linear(name + ".mlp2", hidden, limit, x.frac), limit)
