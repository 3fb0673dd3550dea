"""Vision Transformer on a map of tokens: Bai et al., figure 3, equations 7 and 8.

    ŷ (B, h, w, M) ─► Linear ─► ẑ₀ ─► + positions ─► [class token; tokens] ─► block × L
                                                                                  │
                                            labels ◄─ Linear ◄─ LN ◄─ class token ┘

Reconstruction in the joint model runs only the first three blocks (`features`). Classification
runs all blocks (`forward`).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, linear, scaled_dot_product_attention

from .config import ViTConfig

#: How many tiles of a large map run together. This bounds the memory, and is enough to be fast.
TILES_AT_ONCE = 8


class Block(nn.Module):
    """One pre-norm block: attention over all tokens, and MLP, each with a residual connection.

    Args:
        dim: C of `ViTConfig`.
        heads, mlp_ratio: as in `ViTConfig`.
        drop: the chance that a sample skips a branch in training (stochastic depth).
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
        """The branch (B, T, C). In training it is set to zero for some samples.

        For the other samples it is scaled up, so that its mean stays the same.
        """
        if not self.training or self.drop == 0:
            return branch
        kept = torch.rand(len(branch), 1, 1, device=branch.device) >= self.drop
        return branch * kept.to(branch.dtype) / (1 - self.drop)


class Halving(nn.Module):
    """Predicts the latents of an image at half its size from the latents of the image.

    It is one linear layer on blocks of 2×2 latents:

    (B, h, w, M) ─► (B, ⌈h/2⌉, ⌈w/2⌉, 4M) ─► Linear ─► (B, ⌈h/2⌉, ⌈w/2⌉, M)

    Its weights are buffers, because they are not trained but fitted by least squares.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(channels, 4 * channels))
        self.register_buffer("bias", torch.zeros(channels))

    def blocks(self, y: Tensor) -> Tensor:
        """Joins the channels of 2×2 latents: (B, h, w, M) to (B, ⌈h/2⌉, ⌈w/2⌉, 4M).

        If h or w is odd, the last row or column is repeated.
        """
        b, h, w, m = y.shape
        rows = torch.arange(h + h % 2, device=y.device).clamp(max=h - 1)
        columns = torch.arange(w + w % 2, device=y.device).clamp(max=w - 1)
        y = y[:, rows][:, :, columns].reshape(b, len(rows) // 2, 2, len(columns) // 2, 2, m)
        return y.transpose(2, 3).flatten(3)

    def forward(self, y: Tensor) -> Tensor:
        """Latents (B, h, w, M) to latents of the half-size image, (B, ⌈h/2⌉, ⌈w/2⌉, M)."""
        return linear(self.blocks(y), self.weight, self.bias)


class ViT(nn.Module):
    """A classifier of maps of latents.

    Args:
        channels: the number of channels of the latents (M).
        c: its dimensions.
        classes: the number of labels.
        halving: whether it has a `Halving` layer, as `halve`. `forward` does not use this layer.
    """

    def __init__(self, channels: int, c: ViTConfig, classes: int, halving: bool = False) -> None:
        super().__init__()
        self.config = c
        self.halve = Halving(channels) if halving else None
        self.embed = nn.Linear(channels, c.C)
        # Only image tokens have a position embedding, as in the paper. In the paper's published
        # code the class token has one, too.
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
        """Moves it to the device and the float type in which it will run. Returns it.

        The layer that halves latents stays in float32. A few channels are much stronger than the
        others, and bf16 is too coarse for them.
        """
        halve, self.halve = self.halve, None
        self.to(device, dtype)
        self.halve = None if halve is None else halve.to(device)
        return self

    def positions(self, height: int, width: int) -> Tensor:
        """Position embeddings of a grid, (1, height, width, C).

        They are interpolated, unless the grid has the size for which they were learned.
        """
        if (height, width) == (self.config.grid, self.config.grid):
            return self.position
        # In float32, because not every device has bicubic interpolation for bf16.
        learned = self.position.float().permute(0, 3, 1, 2)
        resized = interpolate(learned, (height, width), mode="bicubic", align_corners=False)
        return resized.permute(0, 2, 3, 1).to(self.position.dtype)

    def sequence(self, z0: Tensor) -> Tensor:
        """Expanded latents (B, h, w, C) to [class token; tokens + positions], (B, 1 + h·w, C)."""
        tokens = (z0 + self.positions(*z0.shape[1:3])).flatten(1, 2)
        return torch.cat([self.token.expand(len(z0), 1, -1).to(tokens.dtype), tokens], 1)

    def run(self, x: Tensor, blocks: Iterable[nn.Module]) -> list[Tensor]:
        """Runs blocks one after the other on a sequence (B, T, C). Returns all their outputs."""
        outputs = []
        for block in blocks:
            x = block(x)
            outputs.append(x)
        return outputs

    def features(self, z0: Tensor, count: int) -> list[Tensor]:
        """Maps z̃₁ … z̃_count (B, h, w, C) of expanded latents (B, h, w, C): equation 7.

        The class token takes part in the blocks, but is not in the results. A map larger than the
        learned grid goes through in tiles of the grid's size. The tiles are evenly spread, and the
        mean is taken where they overlap. The blocks were trained on maps of this size. Also, the
        work and the memory then grow with the size of the map, and not with its square.
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
    """The starts of the fewest tiles that cover `size`. They are evenly spread and may overlap."""
    count = -(-size // tile)
    if count == 1:
        return [0]
    return [round(i * (size - tile) / (count - 1)) for i in range(count)]
