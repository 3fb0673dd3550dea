"""Compiling trained float modules to the integers that `exact.Ops` runs. At export only.

Layers are compiled in the order in which data reaches them: calibration images run
through the integers compiled so far, a layer's output range is seen, its grid chosen
with a margin, and on it goes. What is linear is merged first (LayerNorm's affine part
and 1/√d into qkv, the CAM's last Linear into the head), in float64.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ticodec.entropy.exact import GELU_BITS, LONG, NARROW, Fixed, Ops
from ticodec.entropy.parameters import FRAC_MAX
from ticodec.errors import TicodecError
from ticodec.models.conv import Conv

#: Room left above the largest value seen in calibration, on 16 bits and on more.
MARGIN, MARGIN_WIDE = 2.0, 4.0

Affine = tuple[Tensor, Tensor]  # weight (out, in), bias (out,), float64


class CompilingOps(Ops):
    """Ops that make a layer's integers when it is first run, from its float weights."""

    def __init__(self, floats: dict[str, Affine], parameters: dict[str, Tensor]) -> None:
        super().__init__(parameters, torch.device("cpu"))
        self.floats = floats

    def linear(self, name: str, x: Fixed, limit: int = NARROW, frac: int | None = None) -> Fixed:
        """As `Ops.linear`; compiles the layer if it is new, on the range it shows for x."""
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
        """Store the integers of layers whose outputs are summed before rounding to `frac`.

        Raises TicodecError if a sum could reach 2⁵³: such weights must not be shipped.
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
    """Most fractional bits with which `margin` times the largest value fits the limit."""
    largest = max(float(values.abs().max()), 2.0**-10)
    if not limit / (margin * largest) >= 1:  # also when it is NaN
        raise TicodecError(f"cannot export: values up to {largest:.3g} do not fit its integers")
    return min(FRAC_MAX, math.floor(math.log2(limit / (margin * largest))))


def affine(linear: nn.Linear, norm: nn.LayerNorm | None = None) -> Affine:
    """A Linear in float64, with the affine part of the LayerNorm before it merged in."""
    weight, bias = linear.weight.double(), linear.bias.double()
    if norm is not None:
        bias = bias + weight @ norm.bias.double()
        weight = weight * norm.weight.double()
    return weight, bias


def attention_affine(linear: nn.Linear, norm: nn.LayerNorm, heads: int) -> Affine:
    """qkv with LayerNorm's affine part and the scores' 1/√d merged in."""
    weight, bias = affine(linear, norm)
    c = weight.shape[1]
    scale = torch.ones(3 * c, dtype=torch.float64)
    scale[:c] = (c // heads) ** -0.5
    return weight * scale[:, None], bias * scale


def conv_affine(conv: Conv) -> Affine:
    """A (transposed) convolution as a product with `gather`'s rows: (out, side²·in)."""
    weight = conv.conv.weight.double()
    if isinstance(conv.conv, nn.ConvTranspose2d):
        weight = weight.flip(2, 3).transpose(0, 1)
    assert conv.conv.bias is not None
    return weight.permute(0, 2, 3, 1).flatten(1), conv.conv.bias.double()
