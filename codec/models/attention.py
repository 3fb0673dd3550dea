"""Window attention from a map to a map, forward and backward.

    qkv (B, H, W, 3C) ─► roll ─► windows, heads ─► q, [k], [v 1] ─┐
                                                                  ├─► e = exp(q kᵀ + bias)
    out (B, H, W, C)  ◄─ roll ◄─ map ◄─ ÷ ◄──────── e · [v 1] ◄───┘

The softmax is never formed. Its numerator e is multiplied by v and by a column of ones.
This product also gives the sum of each row of e, by which the small result is divided. The
gradient uses the same trick. The scores are by far the largest tensor of a Swin layer. This
way they are read and written fewer times, and only one tensor of that size is kept.

On a GPU the kernel in `attention_gpu` computes the same function.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

#: Scores are clamped to ± this. Beyond it e would overflow, or the sum of a row would be so small
#: that its gradient is lost. Scores of trained networks are far smaller. A pair that a shift blocks
#: gets e⁻⁶⁰, which is negligible.
LARGEST_SCORE = 60.0


# Cached tensors are made outside inference mode, so that training can use them too. They are made
# on the CPU, because the default device at the first call may differ from that of later calls.
@lru_cache(maxsize=64)
@torch.inference_mode(False)
def shift_regions(height: int, width: int, window: int) -> Tensor:
    """The region number of each token of a map that is rolled by half a window, (nW, T).

    Tokens of one window that come from different sides of the map are neighbours only because
    of the roll. They have different numbers and must not see each other.
    """

    def bands(size: int) -> Tensor:
        at = torch.arange(size, device="cpu")
        return (at >= size - window).long() + (at >= size - window // 2).long()

    regions = bands(height)[:, None] * 3 + bands(width)[None, :]  # (H, W)
    return to_windows(regions[None, :, :, None], window, heads=1, parts=1)[0, :, :, 0]


def window_attention(qkv: Tensor, bias: Tensor, window: int, shift: int) -> Tensor:
    """softmax(q kᵀ / √d + bias) v inside each window of a map, for every head.

    Args:
        qkv: (B, H, W, 3C), its last axis is (3, heads, d). H and W are multiples of the window.
        bias: the bias of each pair of a window's T = window² tokens, (heads, T, T).
        window: the side of the windows.
        shift: by how much the map is rolled before it is split into windows. Tokens that are
            neighbours only because of the roll do not see each other.
    Returns: (B, H, W, C), of qkv's dtype.
    """
    if on_gpu(qkv) and (fused := gpu_kernel()) is not None:
        return fused(qkv, bias, window, shift)
    return _WindowAttention.apply(qkv, bias, window, shift)  # type: ignore[no-any-return]


def on_gpu(x: Tensor) -> bool:
    """Whether Triton's kernels can run on x."""
    return x.is_cuda


@lru_cache(maxsize=1)
def gpu_kernel() -> Callable[[Tensor, Tensor, int, int], Tensor] | None:
    """`window_attention` for a GPU. Warns and returns None if Triton is missing."""
    try:  # not at the top, because importing Triton takes a quarter of a second
        from .attention_gpu import window_attention as fused
    except ImportError as error:
        warnings.warn(f"no fused attention, training will be slow: {error}", stacklevel=2)
        return None
    return fused


def to_windows(x: Tensor, window: int, heads: int, parts: int) -> Tensor:
    """A map (B, H, W, parts·heads·d) to (parts, B·nW·heads, T, d). Windows go row by row."""
    b, h, w, c = x.shape
    x = x.reshape(b, h // window, window, w // window, window, parts, heads, -1)
    x = x.permute(5, 0, 1, 3, 6, 2, 4, 7)
    return x.reshape(parts, -1, window * window, c // heads // parts)


def with_column(x: Tensor, column: Tensor | float) -> Tensor:
    """Appends a column (n, T, 1), or a column of one number, to x (n, T, d): (n, T, d + 1)."""
    out = x.new_empty(*x.shape[:-1], x.shape[-1] + 1)
    out[..., :-1], out[..., -1:] = x, column
    return out


def to_map(parts: list[Tensor], like: tuple[int, ...], window: int, heads: int) -> Tensor:
    """Inverse of `to_windows`: tensors (B·nW·heads, T, d) to (B, H, W, len(parts)·heads·d)."""
    b, h, w = like[:3]
    d = parts[0].shape[-1]
    rows, columns = h // window, w // window
    out = parts[0].new_empty(b, rows, window, columns, window, len(parts), heads, d)
    for i, part in enumerate(parts):
        part = part.view(b, rows, columns, heads, window, window, d)
        out[:, :, :, :, :, i] = part.permute(0, 1, 4, 2, 5, 3, 6)
    return out.view(b, h, w, -1)


class _WindowAttention(torch.autograd.Function):
    """The function and its gradient. The picture at the top of the module shows the steps."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, bias: Tensor, window: int, shift: int) -> Tensor:
        heads, (_, h, w, _) = len(bias), qkv.shape
        if shift:
            qkv = qkv.roll((-shift, -shift), (1, 2))
        q, k, v = to_windows(qkv, window, heads, 3)  # (n, T, d)
        scale = q.shape[-1] ** -0.5
        q, v = q * scale, with_column(v, 1.0)
        e = torch.bmm(q, k.mT)  # (n, T, T)
        add_bias(e, bias, h, w, window, shift)
        e.clamp_(-LARGEST_SCORE, LARGEST_SCORE).exp_()
        out = torch.bmm(e, v)  # (n, T, d + 1); the last column has the sums of e's rows
        out, sums = out[..., :-1] / out[..., -1:], out[..., -1:].contiguous()
        ctx.save_for_backward(q, k, v, e, out, sums)
        ctx.numbers = (qkv.shape, window, shift, heads, scale)
        result = to_map([out], qkv.shape, window, heads)
        return result.roll((shift, shift), (1, 2)) if shift else result

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:  # type: ignore[override]
        q, k, v, e, out, sums = ctx.saved_tensors
        shape, window, shift, heads, scale = ctx.numbers
        if shift:
            grad = grad.roll((-shift, -shift), (1, 2))
        above = to_windows(grad, window, heads, 1)[0] / sums  # (n, T, d)
        into_v = torch.bmm(e.mT, above)
        # The gradient of softmax has the term - Σ grad · out. It is the column that v's column of
        # ones is multiplied by.
        above = with_column(above, -(above * out).sum(-1, keepdim=True))
        into_scores = torch.bmm(above, v.mT).mul_(e)  # (n, T, T)
        into_q = torch.bmm(into_scores, k).mul_(scale)
        into_k = torch.bmm(into_scores.mT, q)
        into_qkv = to_map([into_q, into_k, into_v], shape, window, heads)
        if shift:
            into_qkv = into_qkv.roll((shift, shift), (1, 2))
        into_bias = into_scores.view(-1, heads, *into_scores.shape[1:]).sum(0)
        return into_qkv, into_bias, None, None


def add_bias(
    scores: Tensor, bias: Tensor, height: int, width: int, window: int, shift: int
) -> None:
    """Adds the bias to scores (B·nW·heads, T, T) in place, and -inf if a shift blocks a pair."""
    bias = bias.to(scores.dtype)
    if shift:
        regions = shift_regions(height, width, window).to(scores.device)
        apart = (regions[:, :, None] != regions[:, None, :])[:, None]  # (nW, 1, T, T)
        bias = bias.expand(len(regions), -1, -1, -1).masked_fill(apart, -torch.inf)
    scores.view(-1, *bias.shape).add_(bias)
