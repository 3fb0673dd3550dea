"""Causal attention module (CAM) and entropy head: Lu et al., section 3.2, figure 3b.

    ŷ ─► mask 5×5 ─┬─► LN ─► attention over 25 tokens ─► + ─► Σ tokens ─► MLP ─► Linear ─┐
                   └──────────────────────────────────────┘   (MLP: LN before, + after)  │
    ẑ ─► h_s ─────────────────────────────────────────────────────► concat ◄─────────────┘
                                                                      └─► head ─► scales, means

Causality comes from masking the **tokens**. Of the 25 tokens of a neighbourhood only the
12 that are coded before the centre keep their values. The centre and the later tokens are
zero. (Figure 3b could also be read as a triangular mask on the attention matrix. That would
leak later tokens through the sum.)

The 13 masked tokens are all zero, so they share one query, key and value. They are
represented by one key whose bias is the log-sum-exp of their 13 biases. This gives the same
softmax. The q, k, v of a token are computed once, and not once per neighbourhood.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad

from .config import ModelConfig
from .swin import relative_index

SIDE = 5
REACH = SIDE // 2
#: (row, column) offsets of the 12 earlier neighbours, in raster order.
NEIGHBOURS = [(i // SIDE - REACH, i % SIDE - REACH) for i in range(SIDE * REACH + REACH)]
EARLIER = len(NEIGHBOURS)


def gather_neighbours(padded: Tensor) -> Tensor:
    """The neighbours of every position: (B, H+4, W+4, C), padded by 2, to (B, H, W, 12, C)."""
    h, w = padded.shape[1] - 2 * REACH, padded.shape[2] - 2 * REACH
    views = [
        padded[:, REACH + dy : REACH + dy + h, REACH + dx : REACH + dx + w] for dy, dx in NEIGHBOURS
    ]
    return torch.stack(views, dim=3)


class CausalAttention(nn.Module):
    """CAM: context features of each position, computed from its 12 earlier neighbours.

    Args:
        M: the channels of ŷ.
        heads: the number of attention heads.
        mlp_ratio: the hidden width of its MLP, in multiples of M.
    """

    bias_index: Tensor  # (25, 25), moves to the GPU with the module

    def __init__(self, M: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(M)
        self.qkv = nn.Linear(M, 3 * M)
        self.bias_table = nn.Parameter(torch.empty((2 * SIDE - 1) ** 2, heads))
        self.register_buffer("bias_index", relative_index(SIDE), persistent=False)
        self.norm2 = nn.LayerNorm(M)
        self.mlp1 = nn.Linear(M, mlp_ratio * M)
        self.mlp2 = nn.Linear(mlp_ratio * M, M)
        self.out = nn.Linear(M, 2 * M)
        for linear in (self.qkv, self.mlp1, self.mlp2):
            nn.init.trunc_normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
        nn.init.trunc_normal_(self.bias_table, std=0.02)

    def position_bias(self) -> Tensor:
        """The bias of the 25 queries for the 12 keys and the masked group, (heads, 25, 13)."""
        bias = self.bias_table.float()[self.bias_index].permute(2, 0, 1)  # (heads, 25, 25)
        masked = bias[:, :, EARLIER:].logsumexp(-1, keepdim=True)
        return torch.cat([bias[:, :, :EARLIER], masked], -1)

    def attend(self, near: Tensor, masked: Tensor) -> Tensor:
        """Attention in every neighbourhood, summed over its 25 queries.

        Args:
            near: q, k, v of the neighbours, (..., 12, 3M).
            masked: q, k, v of a zero token, (3M,).
        Returns: (..., M).
        """
        lead, c = near.shape[:-2], near.shape[-1] // 3
        tokens = torch.cat([near, masked.expand(*lead, 1, 3 * c)], -2)  # (..., 13, 3M)
        tokens = tokens.reshape(-1, EARLIER + 1, 3, self.heads, c // self.heads)
        q, k, v = tokens.permute(2, 0, 3, 1, 4)  # (n, heads, 13, d)
        scores = ((q * (c // self.heads) ** -0.5) @ k.transpose(-2, -1)).float()
        # softmax(score + bias) is computed from e^score · e^bias. Row 12 of e^score belongs to the
        # query of all 13 masked tokens. They differ only in their biases, which are a fixed matrix
        # for each head.
        e = (scores - scores.detach().amax(-1, keepdim=True)).exp()  # (n, heads, 13, 13)
        bias = self.position_bias().exp()  # (heads, 25, 13)
        early = e[:, :, :EARLIER] * bias[:, :EARLIER]  # (n, heads, 12, 13)
        weights = (early / early.sum(-1, keepdim=True)).sum(-2)  # over the queries: (n, heads, 13)
        late, bias = e[:, :, EARLIER].transpose(0, 1), bias[:, EARLIER:]  # (heads, n | 13, 13)
        shares = (1 / (late @ bias.mT)) @ bias  # over the 13 queries: (heads, n, 13)
        weights = weights + (late * shares).transpose(0, 1)
        summed = weights.to(v.dtype)[:, :, None] @ v  # (n, heads, 1, d)
        return summed.reshape(*lead, c)

    def forward(self, y_hat: Tensor) -> Tensor:
        """ŷ (B, H, W, M) to context features (B, H, W, 2M)."""
        masked = self.qkv(self.norm1(y_hat.new_zeros(y_hat.shape[-1])))  # (3M,)
        qkv = self.qkv(self.norm1(y_hat))  # (B, H, W, 3M)
        border = (0, 0, REACH, REACH, REACH, REACH)
        near = gather_neighbours(pad(qkv - masked, border) + masked)
        x = self.attend(near, masked) + gather_neighbours(pad(y_hat, border)).sum(-2)
        x = x + self.mlp2(gelu(self.mlp1(self.norm2(x))))
        return self.out(x)


class EntropyHead(nn.Module):
    """1×1 convolutions 4M → 10M/3 → 8M/3 → 2M with GELU, to the scale and mean of each latent."""

    def __init__(self, M: int) -> None:
        super().__init__()
        self.conv1 = nn.Linear(4 * M, 10 * M // 3)
        self.conv2 = nn.Linear(10 * M // 3, 8 * M // 3)
        self.conv3 = nn.Linear(8 * M // 3, 2 * M)
        # Scales start at 1, because below the bound of 0.11 they would hardly learn.
        with torch.no_grad():
            self.conv3.bias[:M] += 1.0

    def forward(self, hyper: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Features of h_s and of the CAM, (..., 2M) each, to raw scales and means, (..., M)."""
        x = gelu(self.conv1(torch.cat([hyper, context], -1)))
        return self.conv3(gelu(self.conv2(x))).chunk(2, -1)


def context_modules(c: ModelConfig) -> tuple[CausalAttention, EntropyHead]:
    """The CAM and the head of a network."""
    return CausalAttention(c.M, c.cam_heads, c.mlp_ratio), EntropyHead(c.M)
