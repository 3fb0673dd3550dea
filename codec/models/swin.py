"""Swin Transformer Block (STB) of Lu et al., section 3.2 and figure 3a.

    x ─┬─► [ LN ─► (shifted) window attention ─► + ─► LN ─► MLP ─► + ] × depth ─► + ─► out
       └──────────────────────────────────────────────────────────────────────────┘

All maps are channels-last, (B, H, W, C), so a token is one contiguous row. If the sides of a
map are not multiples of the window, it is padded by repeating its edge, and cropped
afterwards. So any size works.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

from .attention import window_attention


# Cached tensors are made outside inference mode, so that training can use them too. They are made
# on the CPU, because the default device at the first call may differ from that of later calls.
@lru_cache(maxsize=64)
@torch.inference_mode(False)
def relative_index(window: int) -> Tensor:
    """The row of the bias table for each (query, key) pair of a window: (T, T), T = window²."""
    side = torch.arange(window, device="cpu")
    y, x = torch.meshgrid(side, side, indexing="ij")
    y, x = y.flatten(), x.flatten()
    dy = y[:, None] - y[None, :] + window - 1
    dx = x[:, None] - x[None, :] + window - 1
    return dy * (2 * window - 1) + dx


def partition(x: Tensor, window: int) -> Tensor:
    """A map (B, H, W, C) to its nW windows, row by row: (B·nW, T, C)."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // window, window, w // window, window, c)
    return x.transpose(2, 3).reshape(-1, window * window, c)


def unpartition(x: Tensor, window: int, height: int, width: int) -> Tensor:
    """Inverse of `partition`: (B·nW, T, C) to (B, H, W, C)."""
    c = x.shape[-1]
    x = x.reshape(-1, height // window, width // window, window, window, c)
    return x.transpose(2, 3).reshape(-1, height, width, c)


def pad_to_multiple(x: Tensor, side: int) -> Tensor:
    """Repeats the last row and column of (B, H, W, C) until H and W are multiples of `side`.

    The map may have any size from 1×1. This pads maps to whole windows, and the caller crops the
    result. Images are padded by `image_padding`.
    """
    _, h, w, _ = x.shape
    if h % side:
        rows = torch.arange(h + -h % side, device=x.device).clamp(max=h - 1)
        x = x.index_select(1, rows)
    if w % side:
        columns = torch.arange(w + -w % side, device=x.device).clamp(max=w - 1)
        x = x.index_select(2, columns)
    return x


class SwinLayer(nn.Module):
    """One pre-norm layer: window attention and MLP, each with a residual connection.

    Args:
        dim: the number of channels C.
        heads: the number of attention heads. C is a multiple of it.
        window: the side of a window, in tokens.
        shift: whether windows are shifted by half their side, as in every second layer.
        mlp_ratio: the hidden width of the MLP, in multiples of C.
    """

    bias_index: Tensor  # (T, T), moves to the GPU with the layer

    def __init__(self, dim: int, heads: int, window: int, shift: bool, mlp_ratio: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.shift = window // 2 if shift else 0
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        self.register_buffer("bias_index", relative_index(window), persistent=False)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp1 = nn.Linear(dim, mlp_ratio * dim)
        self.mlp2 = nn.Linear(mlp_ratio * dim, dim)
        for linear in (self.qkv, self.proj, self.mlp1, self.mlp2):
            nn.init.trunc_normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
        nn.init.trunc_normal_(self.bias_table, std=0.02)

    def position_bias(self) -> Tensor:
        """The relative position bias of every pair of tokens, (heads, T, T)."""
        return self.bias_table[self.bias_index].permute(2, 0, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to the same shape. H and W are multiples of the window."""
        y = window_attention(self.qkv(self.norm1(x)), self.position_bias(), self.window, self.shift)
        x = x + self.proj(y)
        return x + self.mlp2(nn.functional.gelu(self.mlp1(self.norm2(x))))


class STB(nn.Module):
    """Swin layers with one residual connection around all of them. Odd layers are shifted."""

    def __init__(self, dim: int, depth: int, heads: int, window: int, mlp_ratio: int) -> None:
        super().__init__()
        self.window = window
        self.layers = nn.ModuleList(
            SwinLayer(dim, heads, window, i % 2 == 1, mlp_ratio) for i in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to the same shape."""
        _, h, w, _ = x.shape
        y = pad_to_multiple(x, self.window)
        for layer in self.layers:
            y = layer(y)
        return x + y[:, :h, :w]
