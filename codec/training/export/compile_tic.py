"""Compiles h_s, CAM and entropy head of TIC to integers, see `compile`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ticodec.entropy.exact import GELU_BITS, LONG, SCORE_BITS, Fixed
from ticodec.entropy.tic_context import MEAN_BITS, Context
from ticodec.entropy.tic_hyper import hyper_synthesis
from ticodec.models.cam import REACH, gather_neighbours
from ticodec.models.conv import Conv
from ticodec.models.swin import STB, SwinLayer
from ticodec.models.tic import Network

from . import tables
from .compile import (
    MARGIN_WIDE,
    Affine,
    CompilingOps,
    affine,
    attention_affine,
    conv_affine,
    fraction,
)


def compile_tic(network: Network, y: Tensor, z: Tensor) -> dict[str, Tensor]:
    """The compiled layers of h_s, CAM and head of TIC, by name.

    `entropy.tic_hyper` and `entropy.tic_context` run them.

    Args:
        network: a trained network on the CPU.
        y: latents of calibration images, multiplied by the gains, (B, h, w, M).
        z: hyper-latents of calibration images.
    """
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
    """The neighbours of all P positions of ŷ (B, h, w, M): q, k, v (P, 12, 3M), ŷ (P, 12, M)."""
    border = (0, 0, REACH, REACH, REACH, REACH)
    qkv = context.qkv(y_hat).ints - context.masked
    near = gather_neighbours(nn.functional.pad(qkv, border) + context.masked)
    near_y = gather_neighbours(nn.functional.pad(y_hat, border))
    return near.flatten(0, 2), near_y.flatten(0, 2)


def float_layers(network: Network) -> tuple[dict[str, Affine], dict[str, Tensor]]:
    """The layers of h_s, CAM and head in float64, by name, and position biases as integers."""
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
