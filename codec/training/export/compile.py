"""Compiles trained float modules to the integers that `exact.Ops` runs. Only export uses it.

Layers are compiled in the order in which data reaches them. Calibration images run through the
layers that are already compiled. The range of the next layer's outputs is measured, and the grid of
this layer is chosen, with a margin.

Before that, linear operations are merged in float64: the affine part of LayerNorm and 1/√d into
qkv, and the last Linear of the CAM into the head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ticodec.entropy.exact import GELU_BITS, LONG, NARROW, Fixed, Ops
from ticodec.entropy.parameters import FRAC_MAX
from ticodec.errors import TicodecError
from ticodec.models.conv import Conv

#: A grid can hold MARGIN times the largest value seen in calibration if it has 16 bits, and
#: MARGIN_WIDE times this value if it has more.
MARGIN, MARGIN_WIDE = 2.0, 4.0

Affine = tuple[Tensor, Tensor]  # weight (out, in), bias (out,), float64


class CompilingOps(Ops):
    """Ops that compile a layer from its float weights when the layer first runs."""

    def __init__(self, floats: dict[str, Affine], parameters: dict[str, Tensor]) -> None:
        super().__init__(parameters, torch.device("cpu"))
        self.floats = floats

    def linear(self, name: str, x: Fixed, limit: int = NARROW, frac: int | None = None) -> Fixed:
        """Like `Ops.linear`. A new layer is compiled first, for the range of its outputs for x."""
        if name + ".weight" not in self.parameters:
            if frac is None:
                margin = MARGIN if limit == NARROW else MARGIN_WIDE
                weight, bias = self.floats[name]
                shown = x.ints.flatten(0, -2) * 2.0**-x.frac @ weight.t() + bias
                frac = fraction(shown, limit, margin)
                if name.endswith(("mlp1", "conv2")):
                    frac = min(frac, GELU_BITS)
            self.compile([name], [x], frac)
        return super().linear(name, x, limit, frac)

    def compile(self, names: list[str], inputs: list[Fixed], frac: int) -> None:
        """Store the integers of layers whose outputs are summed and then rounded.

        Args:
            names: the layers.
            inputs: an input for each layer.
            frac: fractional bits of the rounded sum.

        Raises:
            TicodecError: A sum could reach 2⁵³, where float64 is no longer exact.
        """
        pairs = [self.floats[name] for name in names]
        largest = torch.cat([weight for weight, _ in pairs], 1).abs().amax(1)  # (out,)
        bits = torch.floor(torch.log2(NARROW / largest.clamp(min=2.0**-20)))
        reach, units = torch.zeros_like(bits), []
        for name, x, (weight, bias) in zip(names, inputs, pairs, strict=True):
            ints = torch.round(weight * 2.0 ** bits[:, None])
            offset = torch.round(bias * 2.0 ** (bits + x.frac))
            exponent = frac - bits - x.frac
            units.append(exponent)
            reach += (ints.abs().sum(1) * LONG + offset.abs()) * 2.0**exponent
            self.parameters[name + ".weight"] = ints.to(torch.int16)
            self.parameters[name + ".bias"] = offset.to(torch.int64)
            self.parameters[name + ".exponent"] = exponent.to(torch.int16)
            self.parameters[name + ".frac"] = torch.tensor(frac, dtype=torch.int16)
        unit = 2.0 ** torch.stack(units).amin(0)
        if not bool((reach < 2.0**53 * unit).all()):
            raise TicodecError(f"cannot export: a sum in {', '.join(names)} could reach 2^53")


def fraction(values: Tensor, limit: int, margin: float) -> int:
    """The most fractional bits with which `margin` times the largest value is within the limit."""
    largest = max(float(values.abs().max()), 2.0**-10)
    if not limit / (margin * largest) >= 1:  # "not", so that NaN raises too
        raise TicodecError(f"cannot export: values up to {largest:.3g} do not fit its integers")
    return min(FRAC_MAX, math.floor(math.log2(limit / (margin * largest))))


def affine(linear: nn.Linear, norm: nn.LayerNorm | None = None) -> Affine:
    """A Linear in float64. The affine part of the LayerNorm before it is merged in."""
    weight, bias = linear.weight.double(), linear.bias.double()
    if norm is not None:
        bias = bias + weight @ norm.bias.double()
        weight = weight * norm.weight.double()
    return weight, bias


def attention_affine(linear: nn.Linear, norm: nn.LayerNorm, heads: int) -> Affine:
    """The qkv layer in float64. LayerNorm's affine part and the scores' 1/√d are merged in."""
    weight, bias = affine(linear, norm)
    c = weight.shape[1]
    scale = torch.ones(3 * c, dtype=torch.float64)
    scale[:c] = (c // heads) ** -0.5
    return weight * scale[:, None], bias * scale


def conv_affine(conv: Conv) -> Affine:
    """A (transposed) convolution as a matrix (out, side²·in), for the rows of `gather`."""
    weight = conv.conv.weight.double()
    if isinstance(conv.conv, nn.ConvTranspose2d):
        weight = weight.flip(2, 3).transpose(0, 1)
    assert conv.conv.bias is not None
    return weight.permute(0, 2, 3, 1).flatten(1), conv.conv.bias.double()
