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

from ticodec.errors import TicodecError
from ticodec.models.build import AnyNetwork
from ticodec.models.context import REACH, gather_neighbours
from ticodec.models.icat import Icat
from ticodec.models.network import Network
from ticodec.models.swin import STB, SwinLayer
from ticodec.models.transforms import Conv

from . import tables
from .context import MEAN_BITS, Context
from .exact import GELU_BITS, LONG, NARROW, SCORE_BITS, Fixed, Ops
from .hyper import hyper_synthesis
from .mean_scale import mean_scale

#: Room left above the largest value seen in calibration, on 16 bits and on more.
MARGIN, MARGIN_WIDE = 2.0, 4.0
FRAC_MAX = 14

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


def float_layers(network: Network) -> tuple[dict[str, Affine], dict[str, Tensor]]:
    """Everything of h_s, CAM and head: layers by name, and position biases as integers."""
    layers: dict[str, Affine] = {}
    biases: dict[str, Tensor] = {}

    def to_scores(bias: Tensor) -> Tensor:
        return torch.round(bias.double() * 2**SCORE_BITS).to(torch.int32)

    convs = [m for m in network.h_s if isinstance(m, Conv)]
    stbs = [m for m in network.h_s if isinstance(m, STB)]
    for name, conv in zip(("h_s.up1", "h_s.up0", "h_s.out"), convs, strict=True):
        layers[name] = conv_affine(conv)
    for name, stb in zip(("h_s.stb1", "h_s.stb0"), stbs, strict=True):
        for i, layer in enumerate(stb.layers):
            assert isinstance(layer, SwinLayer)
            at = f"{name}.{i}"
            layers[at + ".qkv"] = attention_affine(layer.qkv, layer.norm1, layer.heads)
            layers[at + ".proj"] = affine(layer.proj)
            layers[at + ".mlp1"] = affine(layer.mlp1, layer.norm2)
            layers[at + ".mlp2"] = affine(layer.mlp2)
            biases[at + ".bias"] = to_scores(layer.position_bias())
    cam, head = network.cam, network.head
    layers["cam.qkv"] = attention_affine(cam.qkv, cam.norm1, cam.heads)
    layers["cam.mlp1"] = affine(cam.mlp1, cam.norm2)
    layers["cam.mlp2"] = affine(cam.mlp2)
    biases["cam.bias"] = to_scores(cam.position_bias())
    weight, bias = affine(head.conv1)
    from_hyper, from_cam = weight.chunk(2, 1)
    out_weight, out_bias = affine(cam.out)
    layers["head.hyper"] = (from_hyper, bias + from_cam @ out_bias)
    layers["head.context"] = (from_cam @ out_weight, torch.zeros_like(bias))
    layers["head.conv2"] = affine(head.conv2)
    for name, weight, bias in zip(
        ("head.scales", "head.means"), *(part.chunk(2) for part in affine(head.conv3)), strict=True
    ):
        layers[name] = (weight, bias)
    return layers, biases


@torch.no_grad()
def compile_entropy(network: AnyNetwork, y: Tensor, z: Tensor) -> dict[str, Tensor]:
    """All integers that coding needs: layers, tables and thresholds, by name.

    Args:
        network: trained, on the CPU.
        y, z: latents of calibration images, gains applied: (B, h, w, M), (B, h/n, w/n, N).
    """
    result = compile_rows(network, z) if isinstance(network, Icat) else compile_tic(network, y, z)
    prior, centres = tables.prior_tables(network.prior)
    result |= {f"z.{k}": v for k, v in prior.items()} | {"z.centres": centres}
    result |= {f"y.{k}": v for k, v in tables.gaussian_tables().items()}
    return result | {"y.thresholds": tables.scale_thresholds()}


def compile_rows(network: Icat, z: Tensor) -> dict[str, Tensor]:
    """The layers of the joint model's h_s, see `mean_scale`."""
    first, up, last = (conv_affine(m) for m in network.h_s if isinstance(m, Conv))
    layers = {"h_s.in": first, "h_s.up": up}
    scales, means = zip(*(part.chunk(2) for part in last), strict=True)
    layers |= {"h_s.scales": scales, "h_s.means": means}
    ops = CompilingOps(layers, {"exp": tables.exp_table()})
    mean_scale(ops, z.round())
    return dict(ops.parameters)


def compile_tic(network: Network, y: Tensor, z: Tensor) -> dict[str, Tensor]:
    """The layers of h_s, CAM and head of TIC, see `hyper` and `context`."""
    layers, biases = float_layers(network)
    shared = {"exp": tables.exp_table(), "gelu": tables.gelu_table()}
    ops = CompilingOps(layers, {**shared, **biases})
    hyper = hyper_synthesis(ops, network.config, z.round())

    y_hat = y.double().round() * 2**MEAN_BITS
    ops.linear("cam.qkv", ops.norm(Fixed(y_hat, MEAN_BITS)))
    context = Context(ops, network.config)
    near, near_y = neighbourhoods(context, y_hat)
    attended = context.attend(near) * 2.0 ** -(15 + context.qkv_frac)
    shown = torch.stack([attended, near_y.sum(1) * 2.0**-MEAN_BITS])
    ops.parameters["cam.frac"] = torch.tensor(fraction(shown, LONG, MARGIN_WIDE), dtype=torch.int16)

    x = ops.mlp("cam", context.residual(context.attend(near), near_y), LONG)
    flat = Fixed(hyper.ints.flatten(0, 2), hyper.frac)
    pairs = [(layers["head.hyper"], flat), (layers["head.context"], x)]
    shown = sum(  # type: ignore[assignment]
        part.ints * 2.0**-part.frac @ weight.t() + bias for (weight, bias), part in pairs
    )
    frac = min(GELU_BITS, fraction(shown, LONG, MARGIN_WIDE))
    ops.compile(["head.hyper", "head.context"], [flat, x], frac)
    context.predict(near, near_y, context.hyper_part(flat))

    return dict(ops.parameters)


def neighbourhoods(context: Context, y_hat: Tensor) -> tuple[Tensor, Tensor]:
    """Neighbours of every position of ŷ (B, h, w, M): q, k, v (P, 12, 3M) and ŷ (P, 12, M)."""
    border = (0, 0, REACH, REACH, REACH, REACH)
    qkv = context.qkv(y_hat).ints - context.masked
    near = gather_neighbours(nn.functional.pad(qkv, border) + context.masked)
    near_y = gather_neighbours(nn.functional.pad(y_hat, border))
    return near.flatten(0, 2), near_y.flatten(0, 2)
