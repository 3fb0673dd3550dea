"""A Swin layer on rows of windows in PyTorch, for GPUs and for installations without the extension.

    rows (R, W, C) ─► LN ─► qkv ─► attention ─► + ─► LN ─► MLP ─► + ─► rows

It works on a few rows of windows at a time, so that the intermediate results stay in the
processor's cache.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .attention import shift_regions
from .swin import SwinLayer, partition, unpartition

#: How many tokens are processed at a time. On a CPU their activations have a few hundred KB, which
#: stay in the second-level cache. On a GPU they are enough to keep it busy.
STRIP_TOKENS = {"cpu": 3072, "cuda": 1 << 18}
#: Added to the score of a pair of tokens that must not see each other.
BLOCKED = -1e9


class TorchSwin:
    """A Swin layer with the interface of `NativeSwin`.

    Args:
        layer: the trained layer, already in the type and on the device in which it will run.
    """

    def __init__(self, layer: SwinLayer) -> None:
        self.layer, self.shift = layer, layer.shift
        self.bias = layer.position_bias().detach().contiguous()
        self.blocked = shift_mask(layer.window, self.bias)

    @torch.inference_mode()
    def run(self, source: Tensor, add: Tensor | None, to: Tensor, absent: int) -> None:
        """Like `NativeSwin.run`, but in the type and on the device of the layer."""
        rows, width, _ = source.shape
        size = self.layer.window
        step = max(1, STRIP_TOKENS[source.device.type] // (width * size)) * size
        for top in range(-absent, rows, step):
            strip = slice(max(0, top), min(top + step, rows))
            part = source[strip]
            missing = strip.start - top, -(strip.stop - top) % size
            result = self.strip(part, missing)
            to[strip] = result if add is None else result.add_(add[strip])

    def strip(self, part: Tensor, missing: tuple[int, int]) -> Tensor:
        """The layer on rows of windows (R, W, C).

        `missing` says how many rows are missing at the top of the first windows, and at the bottom
        of the last windows.
        """
        layer = self.layer
        part = part + self.attend(part, missing)
        hidden = nn.functional.gelu(layer.mlp1(layer.norm2(part)))
        return part.add_(layer.mlp2(hidden))

    def attend(self, part: Tensor, missing: tuple[int, int]) -> Tensor:
        """Window attention of a strip (R, W, C)."""
        layer, (above, below) = self.layer, missing
        normal = nn.functional.pad(layer.norm1(part), (0, 0, 0, 0, above, below))[None]
        _, height, width, c = normal.shape
        size, heads = layer.window, layer.heads
        if layer.shift:
            normal = normal.roll(-layer.shift, 2)
        qkv = layer.qkv(partition(normal, size))
        n, t, _ = qkv.shape
        q, k, v = qkv.reshape(n, t, 3, heads, c // heads).permute(2, 0, 3, 1, 4)
        scores = (q * (c // heads) ** -0.5) @ k.transpose(-2, -1)
        scores += self.bias
        if layer.shift:
            # Only windows of the last column, and windows of which a half is missing, contain
            # tokens from different sides of the map.
            across = width // size
            rows = scores.reshape(n // across, across, heads, t, t)
            rows[:, -1].add_(self.blocked[0])
            if above:
                rows[0].add_(self.blocked[1])
            if below:
                rows[-1].add_(self.blocked[1])
        y = scores.softmax(-1) @ v  # (nW, heads, T, d)
        y = layer.proj(y.transpose(1, 2).reshape(n, t, c))
        y = unpartition(y, size, height, width)
        if layer.shift:
            y = y.roll(layer.shift, 2)
        return y[0, above : height - below]


def shift_mask(window: int, like: Tensor) -> Tensor:
    """Masks that block pairs which the shift joined across the right and bottom edge, (2, T, T).

    They are added to scores. They have the dtype and the device of `like`.
    """
    size = 2 * window
    regions = shift_regions(size, size, window)  # a map of 2×2 windows has all cases
    edges = regions[1:3]
    apart = edges[:, :, None] != edges[:, None, :]
    return apart.to(like.device, like.dtype) * BLOCKED
