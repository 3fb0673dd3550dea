"""h_s on integers: ẑ to hyper features. It has the structure of `tic_transforms.HyperSynthesis`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from ticodec.models.config import ModelConfig
from ticodec.models.swin import pad_to_multiple

from .exact import LONG, NARROW, WIDE, Fixed, Ops


def gather(x: Tensor, side: int) -> Tensor:
    """The side × side neighbourhood of every position: (B, H, W, C) to (B, H, W, side²·C).

    Neighbours outside the map are zero.
    """
    h, w = x.shape[1:3]
    reach = side // 2
    x = pad(x, (0, 0, reach, reach, reach, reach))
    return torch.cat([x[:, i : i + h, j : j + w] for i in range(side) for j in range(side)], -1)


def insert_zeros(x: Tensor) -> Tensor:
    """Inserts zeros between positions: (B, H, W, C) to (B, 2H, 2W, C).

    A convolution of the result is the transposed convolution of stride 2.
    """
    b, h, w, c = x.shape
    out = x.new_zeros(b, h, 2, w, 2, c)
    out[:, :, 0, :, 0] = x
    return out.reshape(b, 2 * h, 2 * w, c)


def hidden(ops: Ops, c: ModelConfig, z: Tensor) -> Fixed:
    """ẑ (B, h/4, w/4, N), integers, through all layers of h_s but the last, to (B, h, w, N)."""
    x = Fixed(z.double().clamp(-NARROW, NARROW), 0)
    for stage, depth, heads in [(1, *_stage(c, 1)), (0, *_stage(c, 0))]:
        x = ops.linear(f"h_s.up{stage}", Fixed(gather(insert_zeros(x.ints), 3), x.frac), limit=WIDE)
        if c.hyper_activation == "leaky_relu":
            x = ops.leaky_relu(x)
        x = _stb(ops, f"h_s.stb{stage}", x, depth, heads, c.hyper_window)
    return x


def features(ops: Ops, x: Fixed) -> Fixed:
    """`hidden` (B, h, w, N) through the last layer of h_s, to hyper features (B, h, w, 2M)."""
    return ops.linear("h_s.out", Fixed(gather(x.ints, 3), x.frac), limit=LONG)


def hyper_synthesis(ops: Ops, c: ModelConfig, z: Tensor) -> Fixed:
    """ẑ (B, h/4, w/4, N), integers, to hyper features (B, h, w, 2M)."""
    return features(ops, hidden(ops, c, z))


def _stage(c: ModelConfig, stage: int) -> tuple[int, int]:
    return c.hyper_depths[stage], c.hyper_heads[stage]


def _stb(ops: Ops, name: str, x: Fixed, depth: int, heads: int, window: int) -> Fixed:
    """Swin layers with one residual connection around all of them."""
    _, h, w, _ = x.ints.shape
    y = Fixed(pad_to_multiple(x.ints, window), x.frac)
    for i in range(depth):
        y = ops.swin_layer(f"{name}.{i}", y, heads, window, window // 2 if i % 2 else 0)
    return ops.add(x, Fixed(y.ints[:, :h, :w], y.frac))
