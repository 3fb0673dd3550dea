"""Vision Transformer on a map of tokens: Bai et al., figure 3, equations 7 and 8.

    ŷ (B, h, w, M) ─► Linear ─► ẑ₀ ─► + positions ─► [class token; tokens] ─► block × L
                                                                                  │
                                            labels ◄─ Linear ◄─ LN ◄─ class token ┘

Reconstruction of the joint model runs the first three blocks only (`features`),
classification all of them and nothing else (`forward`).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, linear, scaled_dot_product_attention

from .config import ViTConfig

#: Tiles of a large map that run together: bounds the memory, and is enough to be fast.
TILES_AT_ONCE = 8


class Block(nn.Module):
    """One pre-norm block: attention over all tokens and MLP, each with its residual.

    Args:
        dim, heads, mlp_ratio: as in `ViTConfig`.
        drop: chance that a sample skips each branch, in training (stochastic depth).
    """

    def __init__(self, dim: int, heads: int, mlp_ratio: int, drop: float) -> None:
        super().__init__()
        self.heads, self.drop = heads, drop
        self.norm1 = nn.LayerNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp1 = nn.Linear(dim, mlp_ratio * dim)
        self.mlp2 = nn.Linear(mlp_ratio * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, T, C) to the same shape."""
        b, t, c = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(b, t, 3, self.heads, c // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, T, d)
        y = scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, c)
        x = x + self.skip(self.proj(y))
        return x + self.skip(self.mlp2(gelu(self.mlp1(self.norm2(x)))))

    def skip(self, branch: Tensor) -> Tensor:
        """The branch (B, T, C), zero for some samples in training, larger for the others."""
        if not self.training or self.drop == 0:
            return branch
        kept = torch.rand(len(branch), 1, 1, device=branch.device) >= self.drop
        return branch * kept.to(branch.dtype) / (1 - self.drop)


class Halving(nn.Module):
    """Latents of an image at half its size, from those of the image: one linear layer on 2×2.

    (B, h, w, M) ─► (B, ⌈h/2⌉, ⌈w/2⌉, 4M) ─► Linear ─► (B, ⌈h/2⌉, ⌈w/2⌉, M)

    Its weights are fitted by least squares, not trained with the others: hence they are buffers.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(channels, 4 * channels))
        self.register_buffer("bias", torch.zeros(channels))

    def blocks(self, y: Tensor) -> Tensor:
        """2×2 latents side by side: (B, h, w, M) to (B, ⌈h/2⌉, ⌈w/2⌉, 4M).

        The last row or column is repeated where their number is odd.
        """
        b, h, w, m = y.shape
        rows = torch.arange(h + h % 2, device=y.device).clamp(max=h - 1)
        columns = torch.arange(w + w % 2, device=y.device).clamp(max=w - 1)
        y = y[:, rows][:, :, columns].reshape(b, len(rows) // 2, 2, len(columns) // 2, 2, m)
        return y.transpose(2, 3).flatten(3)

    def forward(self, y: Tensor) -> Tensor:
        """Latents (B, h, w, M) to those of half the size."""
        return linear(self.blocks(y), self.weight, self.bias)


class ViT(nn.Module):
    """Labels from a map of latents.

    Args:
        channels: of a latent position (M); c: dimensions; classes: number of labels.
        halving: whether it knows how to make latents of large images smaller; `forward` does not.
    """

    def __init__(self, channels: int, c: ViTConfig, classes: int, halving: bool = False) -> None:
        super().__init__()
        self.config = c
        self.halve = Halving(channels) if halving else None
        self.embed = nn.Linear(channels, c.C)
        # Of image tokens only, as the paper says; its published code gives the class token one.
        self.position = nn.Parameter(torch.empty(1, c.grid, c.grid, c.C))
        self.token = nn.Parameter(torch.empty(1, 1, c.C))
        drops = [c.drop_path * i / max(1, c.L - 1) for i in range(c.L)]
        self.blocks = nn.ModuleList(Block(c.C, c.heads, c.mlp_ratio, drop) for drop in drops)
        self.norm = nn.LayerNorm(c.C)
        self.head = nn.Linear(c.C, classes)
        for parameter in (self.position, self.token):
            nn.init.trunc_normal_(parameter, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def move(self, device: torch.device, dtype: torch.dtype) -> ViT:
        """Move it to the device and the float type it is to run in; returns it.

        What halves latents stays float32: a few channels are much stronger, and bf16 is too
        coarse for them.
        """
        halve, self.halve = self.halve, None
        self.to(device, dtype)
        self.halve = None if halve is None else halve.to(device)
        return self

    def positions(self, height: int, width: int) -> Tensor:
        """Position embeddings of a grid, (1, height, width, C), interpolated if not learned."""
        if (height, width) == (self.config.grid, self.config.grid):
            return self.position
        # Float32: bicubic interpolation of bf16 is not there on every device.
        learned = self.position.float().permute(0, 3, 1, 2)
        resized = interpolate(learned, (height, width), mode="bicubic", align_corners=False)
        return resized.permute(0, 2, 3, 1).to(self.position.dtype)

    def sequence(self, z0: Tensor) -> Tensor:
        """Expanded latents (B, h, w, C) to [class token; tokens + positions], (B, 1 + h·w, C)."""
        tokens = (z0 + self.positions(*z0.shape[1:3])).flatten(1, 2)
        return torch.cat([self.token.expand(len(z0), 1, -1).to(tokens.dtype), tokens], 1)

    def run(self, x: Tensor, blocks: Iterable[nn.Module]) -> list[Tensor]:
        """The outputs of blocks in turn on a sequence (B, T, C)."""
        outputs = []
        for block in blocks:
            x = block(x)
            outputs.append(x)
        return outputs

    def features(self, z0: Tensor, count: int) -> list[Tensor]:
        """Maps z̃₁ … z̃_count (B, h, w, C) of expanded latents (B, h, w, C): equation 7.

        The class token takes part and is left out. Maps larger than the learned grid go through
        in tiles of that size, evenly spread, the mean taken where they overlap: that is what the
        blocks were trained on, and the work and the memory grow with the map, not its square.
        """
        _, h, w, _ = z0.shape
        grid = self.config.grid
        if h <= grid and w <= grid:
            outputs = self.run(self.sequence(z0), self.blocks[:count])
            return [x[:, 1:].unflatten(1, (h, w)) for x in outputs]
        th, tw = min(h, grid), min(w, grid)
        corners = [(i, j) for i in tile_starts(h, th) for j in tile_starts(w, tw)]
        sums = [torch.zeros_like(z0) for _ in range(count)]
        share = z0.new_zeros(1, h, w, 1)
        for start in range(0, len(corners), TILES_AT_ONCE):
            batch = corners[start : start + TILES_AT_ONCE]
            tiles = torch.cat([z0[:, i : i + th, j : j + tw] for i, j in batch])
            for total, x in zip(
                sums, self.run(self.sequence(tiles), self.blocks[:count]), strict=True
            ):
                maps = x[:, 1:].unflatten(1, (th, tw)).split(len(z0))
                for (i, j), tile in zip(batch, maps, strict=True):
                    total[:, i : i + th, j : j + tw] += tile
            for i, j in batch:
                share[:, i : i + th, j : j + tw] += 1
        return [total / share for total in sums]

    def classify(self, x: Tensor, blocks: Iterable[nn.Module]) -> Tensor:
        """A sequence (B, T, C) through blocks to logits (B, classes): equation 8."""
        for block in blocks:
            x = block(x)
        return self.head(self.norm(x[:, 0]))

    def forward(self, y_hat: Tensor) -> Tensor:
        """Latents (B, h, w, M), divided by the gain, to logits (B, classes), any grid."""
        return self.classify(self.sequence(self.embed(y_hat)), self.blocks)


def tile_starts(size: int, tile: int) -> list[int]:
    """Starts of the fewest tiles that cover a size, evenly spread; neighbours may overlap."""
    count = -(-size // tile)
    if count == 1:
        return [0]
    return [round(i * (size - tile) / (count - 1)) for i in range(count)]
