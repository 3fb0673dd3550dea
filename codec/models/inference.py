"""Running g_a, h_a and g_s fast: channels-last, in strips, in bf16 where it pays.

A Swin layer works on windows that do not overlap, so LN, qkv, attention and MLP run on a
few rows of windows at a time, in place: the strip stays in cache and no whole-map
intermediate is ever made. In float32 the result is the module's.

    map (H, W, C) ─┬─ strip of window rows ─► LN ─► qkv ─► attention ─► + ─► LN ─► MLP ─► + ─┐
                   └◄──────────────────────── written back in place ◄───────────────────────┘
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from .attention import shift_regions
from .conv import Conv, LinearGDN
from .swin import STB, SwinLayer, pad_to_multiple, partition, unpartition

#: Tokens in a strip: a few hundred KB of activations, which stay in the second-level cache.
STRIP_TOKENS = 3072
BLOCKED = -1e9
#: Environment variable: 1 uses bf16 on every machine, 0 on none. Processes started here see it.
BF16 = "TICODEC_BF16"


def fast_bf16(device: torch.device) -> bool:
    """Whether bf16 is faster than float32 there: GPUs, and CPUs with AVX512-BF16 or AMX.

    On CPUs without them bf16 is emulated and several times slower. The environment variable
    `TICODEC_BF16` (0 or 1) decides instead where it is set: the same pixels on two machines
    need the same type on both, and so do tests.
    """
    if forced := os.environ.get(BF16):
        return forced != "0"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(native()) and torch.backends.cpu.get_cpu_capability().startswith("AVX512")


class Transform:
    """A transform of a network, ready to run.

    Args:
        modules: the trained transform; it is taken over, converted in place.
        device: where; dtype: of the maps, float32 or bfloat16.
        keep_last: run the last convolution in float32, since there bf16 shows in pixels.
    """

    def __init__(
        self, modules: nn.Sequential, device: torch.device, dtype: torch.dtype, keep_last: bool
    ) -> None:
        self.dtype, self.device = dtype, device
        self.modules = modules.to(device).eval().requires_grad_(False)
        last = max(i for i, module in enumerate(self.modules) if isinstance(module, Conv))
        for i, module in enumerate(self.modules):
            kept = keep_last and i >= last
            if next(module.parameters(), None) is not None:  # constants keep their digits
                module.to(torch.float32 if kept else dtype)
            if isinstance(module, Conv):
                module.conv.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.biases = {
            layer: layer.position_bias().detach().contiguous()
            for layer in self.modules.modules()
            if isinstance(layer, SwinLayer)
        }

    @torch.inference_mode()
    def __call__(self, x: Tensor) -> Tensor:
        """(1, H, W, C) float32 to the transform's output, float32."""
        x = x.to(self.device)
        for module in self.modules:
            x = x.to(next(module.parameters(), x).dtype)
            if isinstance(module, STB):
                x = self.stb(module, x.contiguous())
            elif isinstance(module, LinearGDN):
                x = self.gdn(module, x.contiguous())
            elif isinstance(module, nn.LeakyReLU):
                x = nn.functional.leaky_relu_(x, module.negative_slope)
            else:
                x = module(x)
        return x.float()

    def gdn(self, module: LinearGDN, x: Tensor) -> Tensor:
        """The normalisation on (1, H, W, C), in place."""
        for tokens in x.view(-1, x.shape[-1]).split(STRIP_TOKENS):
            tokens.copy_(module(tokens))
        return x

    def stb(self, block: STB, x: Tensor) -> Tensor:
        """The block on (1, H, W, C)."""
        _, h, w, _ = x.shape
        y = pad_to_multiple(x, block.window)
        y = y.clone() if y is x else y
        for layer in block.layers:
            assert isinstance(layer, SwinLayer)
            for rows, wrapped in strips(y.shape[1], y.shape[2], layer):
                self.strip(layer, y, rows, wrapped)
        return y[:, :h, :w].add_(x)

    def strip(self, layer: SwinLayer, y: Tensor, rows: slice, wrapped: int) -> None:
        """One layer on a strip of window rows of y (1, H, W, C), in place.

        `rows` of the map, and the first `wrapped` rows behind them when the shifted
        windows wrap around its end.
        """
        part = y[0, rows]
        if wrapped:
            part = torch.cat([part, y[0, :wrapped]])
        part = part + self.attend(layer, part, bool(wrapped))
        normal = layer.norm2(part)
        hidden = nn.functional.gelu(layer.mlp1(normal))
        part = part.add_(layer.mlp2(hidden))
        y[0, rows] = part[: len(part) - wrapped]
        if wrapped:
            y[0, :wrapped] = part[len(part) - wrapped :]

    def attend(self, layer: SwinLayer, part: Tensor, wrapped: bool) -> Tensor:
        """Window attention of a strip (rows, W, C)."""
        height, width, c = part.shape
        size, heads = layer.window, layer.heads
        normal = layer.norm1(part)[None]
        if layer.shift:
            normal = normal.roll(-layer.shift, 2)
        qkv = layer.qkv(partition(normal, size))
        n, t, _ = qkv.shape
        q, k, v = qkv.reshape(n, t, 3, heads, c // heads).permute(2, 0, 3, 1, 4)
        scores = (q * (c // heads) ** -0.5) @ k.transpose(-2, -1)
        scores += self.biases[layer]
        if layer.shift:
            # Only the last column of windows, and the wrapped last row, join map edges.
            across = width // size
            blocked = shift_mask(size, scores)
            rows = scores.reshape(n // across, across, heads, t, t)
            rows[:, -1].add_(blocked[0])
            if wrapped:
                rows[-1].add_(blocked[1])
        y = scores.softmax(-1) @ v  # (nW, heads, T, d)
        y = layer.proj(y.transpose(1, 2).reshape(n, t, c))
        y = unpartition(y, size, height, width)
        if layer.shift:
            y = y.roll(layer.shift, 2)
        return y[0]


def shift_mask(window: int, like: Tensor) -> Tensor:
    """What blocks pairs that the shift joined across the right and the bottom edge, (2, T, T)."""
    size = 2 * window
    regions = shift_regions(size, size, window)  # a map of 2×2 windows has all the cases
    edges = regions[1:3]
    apart = edges[:, :, None] != edges[:, None, :]
    return apart.to(like.device, like.dtype) * BLOCKED


def strips(height: int, width: int, layer: SwinLayer) -> Iterator[tuple[slice, int]]:
    """Strips of whole window rows of a layer: (rows of the map, rows wrapped to its top)."""
    step = max(1, STRIP_TOKENS // (width * layer.window)) * layer.window
    for top in range(0, height, step):
        end = min(top + step, height) + layer.shift
        yield slice(top + layer.shift, min(end, height)), max(0, end - height)
