"""Swin window attention: one Triton kernel for the forward pass and one for the backward pass.

    qkv (B, H, W, 3C), as the Linear before it wrote it
      │  a program handles one head in a run of windows, one window after the other
      │  roll and windows only change the addresses of the rows that it reads
      ▼
    q, k, v (T, d) ──► q kᵀ·scale + bias ──► mask ──► softmax ──► p v    (never leave the chip)
                                                         │         │
               lse: log of the sum, from which           ▼         ▼
               the backward pass makes p again          lse      out (B, H, W, C), each row
                                                                 where its query was

The windows, the rolled map, the mask and the bias of every window are never written to memory.
Let there be N = B·H·W·C numbers of e bytes. The forward pass reads qkv once (3·N·e) and writes out
once (N·e), and 4 bytes of lse per query and head. The backward pass reads qkv and grad_out once and
writes grad_qkv once (7·N·e in all). Each of its programs also writes (T, T) float32 of grad_bias.
It uses no atomics, so gradients are the same in every run.

Importing this module needs triton. Running it needs a GPU, or TRITON_INTERPRET=1 on the CPU.
"""

from __future__ import annotations

from typing import Any

import torch
import triton  # type: ignore[import-untyped,import-not-found]
import triton.language as tl  # type: ignore[import-untyped,import-not-found]
from torch import Tensor, library

# About how many programs share a large map. A GPU with 132 processors runs about 500 programs at a
# time in the forward pass, and half as many in the backward pass. With more programs the processors
# finish more evenly. With fewer, biases are loaded and (T, T) sums are written less often.
FORWARD_PROGRAMS = 4096
BACKWARD_PROGRAMS = 2048

# These sizes change from call to call. Triton must not compile a special kernel if one of them is 1
# or a multiple of 16.
SIZES = ["height", "width", "windows", "run"]


@triton.jit  # type: ignore[misc,untyped-decorator]
def locate(  # type: ignore[no-untyped-def]
    n, height, width, WINDOW: tl.constexpr, SHIFT: tl.constexpr,
):  # fmt: skip
    """The positions of window n's tokens in the map, (T,) int64, and their regions, (T,) int32."""
    across = width // WINDOW
    image = n // (height // WINDOW * across)
    at = n - image * (height // WINDOW * across)
    t = tl.arange(0, WINDOW * WINDOW)
    row = at // across * WINDOW + t // WINDOW
    column = at % across * WINDOW + t % WINDOW
    region = t * 0
    if SHIFT > 0:  # SHIFT is half a window; regions are those of `shift_regions`
        below = row >= height - SHIFT
        right = column >= width - SHIFT
        region += ((row >= height - WINDOW).to(tl.int32) + below.to(tl.int32)) * 3
        region += (column >= width - WINDOW).to(tl.int32) + right.to(tl.int32)
        row = tl.where(below, row + SHIFT - height, row + SHIFT)
        column = tl.where(right, column + SHIFT - width, column + SHIFT)
    # int64, because a batch of large maps has more than 2³¹ numbers.
    return (image.to(tl.int64) * height + row) * width + column, region


@triton.jit  # type: ignore[misc,untyped-decorator]
def begin(  # type: ignore[no-untyped-def]
    bias_ptr, run, HEADS: tl.constexpr, PADDED: tl.constexpr, T: tl.constexpr,
):  # fmt: skip
    """A program's head, its first window, the offsets of pairs and of channels, and the bias."""
    # Neighbouring programs have different heads of the same windows. They read parts of the same
    # rows, so the rows are fetched once.
    head = tl.program_id(0) % HEADS
    first = tl.program_id(0) // HEADS * run
    t = tl.arange(0, T)
    pair = t[:, None] * T + t[None, :]
    d = tl.arange(0, PADDED)[None, :]
    bias = tl.load(bias_ptr + head * (T * T) + pair).to(tl.float32)
    return head, first, pair, d, bias


@triton.jit  # type: ignore[misc,untyped-decorator]
def scores(  # type: ignore[no-untyped-def]
    qkv_ptr, at, d, bias, region, scale, C: tl.constexpr, DIM: tl.constexpr, SHIFT: tl.constexpr,
):  # fmt: skip
    """q, k, v of one window and head, (T, PADDED), and their masked scores, (T, T) float32."""
    q = tl.load(qkv_ptr + at, mask=d < DIM, other=0.0)
    k = tl.load(qkv_ptr + at + C, mask=d < DIM, other=0.0)
    v = tl.load(qkv_ptr + at + 2 * C, mask=d < DIM, other=0.0)
    # "ieee" matters only for float32, which would be rounded to tf32 without it.
    s = tl.dot(q, tl.trans(k), input_precision="ieee") * scale + bias
    if SHIFT > 0:
        s = tl.where(region[:, None] == region[None, :], s, float("-inf"))
    return q, k, v, s


@triton.jit(do_not_specialize=SIZES)  # type: ignore[misc,untyped-decorator]
def forward_kernel(  # type: ignore[no-untyped-def]
    qkv_ptr, bias_ptr, out_ptr, lse_ptr,
    height, width, windows, run, scale,
    HEADS: tl.constexpr, DIM: tl.constexpr, PADDED: tl.constexpr,
    WINDOW: tl.constexpr, SHIFT: tl.constexpr,
):  # fmt: skip
    """out and lse of one head in `run` windows."""
    T: tl.constexpr = WINDOW * WINDOW
    C: tl.constexpr = HEADS * DIM
    t = tl.arange(0, T)
    head, first, _pair, d, bias = begin(bias_ptr, run, HEADS, PADDED, T)

    for n in range(first, tl.minimum(first + run, windows)):
        token, region = locate(n, height, width, WINDOW, SHIFT)
        at = token[:, None] * (3 * C) + (head * DIM + d)
        _q, _k, v, s = scores(qkv_ptr, at, d, bias, region, scale, C, DIM, SHIFT)
        top = tl.max(s, 1)
        p = tl.exp(s - top[:, None])
        total = tl.sum(p, 1)
        o = tl.dot(p.to(v.dtype), v, input_precision="ieee") / total[:, None]
        tl.store(out_ptr + token[:, None] * C + (head * DIM + d), o.to(v.dtype), mask=d < DIM)
        tl.store(lse_ptr + (n * HEADS + head).to(tl.int64) * T + t, top + tl.log(total))


@triton.jit(do_not_specialize=SIZES)  # type: ignore[misc,untyped-decorator]
def backward_kernel(  # type: ignore[no-untyped-def]
    qkv_ptr, bias_ptr, lse_ptr, grad_out_ptr, grad_qkv_ptr, grad_bias_ptr,
    height, width, windows, run, scale,
    HEADS: tl.constexpr, DIM: tl.constexpr, PADDED: tl.constexpr,
    WINDOW: tl.constexpr, SHIFT: tl.constexpr,
):  # fmt: skip
    """grad_qkv of one head in `run` windows, and the sum of their grad_bias."""
    T: tl.constexpr = WINDOW * WINDOW
    C: tl.constexpr = HEADS * DIM
    t = tl.arange(0, T)
    head, first, pair, d, bias = begin(bias_ptr, run, HEADS, PADDED, T)
    grad_bias = tl.zeros((T, T), dtype=tl.float32)

    for n in range(first, tl.minimum(first + run, windows)):
        token, region = locate(n, height, width, WINDOW, SHIFT)
        at = token[:, None] * (3 * C) + (head * DIM + d)
        q, k, v, s = scores(qkv_ptr, at, d, bias, region, scale, C, DIM, SHIFT)
        at_out = token[:, None] * C + (head * DIM + d)
        do = tl.load(grad_out_ptr + at_out, mask=d < DIM, other=0.0)
        lse = tl.load(lse_ptr + (n * HEADS + head).to(tl.int64) * T + t)
        p = tl.exp(s - lse[:, None])
        dv = tl.dot(tl.trans(p.to(do.dtype)), do, input_precision="ieee")
        tl.store(grad_qkv_ptr + at + 2 * C, dv.to(do.dtype), mask=d < DIM)

        dp = tl.dot(do, tl.trans(v), input_precision="ieee")
        delta = tl.sum(p * dp, 1)  # the sums of the rows of out · grad_out, without reading out
        ds = p * (dp - delta[:, None])
        grad_bias += ds
        ds = ds.to(q.dtype)
        dq = tl.dot(ds, k, input_precision="ieee") * scale
        dk = tl.dot(tl.trans(ds), q, input_precision="ieee") * scale
        tl.store(grad_qkv_ptr + at, dq.to(q.dtype), mask=d < DIM)
        tl.store(grad_qkv_ptr + at + C, dk.to(q.dtype), mask=d < DIM)

    tl.store(grad_bias_ptr + tl.program_id(0) * (T * T) + pair, grad_bias)


def launch(kernel: Any, tensors: list[Tensor], window: int, shift: int, run: int) -> None:
    """Starts a kernel on its tensors. The first two are qkv and bias."""
    (batch, height, width, c3), heads = tensors[0].shape, tensors[1].shape[0]
    windows, dim = batch * (height // window) * (width // window), c3 // (3 * heads)
    grid, sizes = (heads * triton.cdiv(windows, run),), (height, width, windows, run)
    constants = (heads, dim, max(16, triton.next_power_of_2(dim)), window, shift)  # dot needs 16
    # The 64 queries of a window of 8 are the rows of Hopper's matrix instruction, which 4 warps
    # share. The 16 queries of a window of 4 are the rows of one warp's instruction. Products of
    # float32 use plain registers. Fewer than 8 warps do not have enough of them.
    wide = tensors[0].dtype == torch.float32
    warps = 1 if window == 4 else 8 if wide else 4
    stages = 1 if wide else 2  # with 2, the next window is fetched during this one
    with torch.cuda.device_of(tensors[0]):  # does nothing on the CPU
        kernel[grid](*tensors, *sizes, dim**-0.5, *constants, num_warps=warps, num_stages=stages)


@library.custom_op("ticodec::window_attention", mutates_args=())
def forward_op(qkv: Tensor, bias: Tensor, window: int, shift: int) -> tuple[Tensor, Tensor]:
    """Returns out, and lse (windows, heads, T) float32."""
    out, lse = forward_fake(qkv, bias, window, shift)
    run = max(1, triton.cdiv(lse.shape[0] * lse.shape[1], FORWARD_PROGRAMS))
    launch(forward_kernel, [qkv.contiguous(), bias.contiguous(), out, lse], window, shift, run)
    return out, lse


@forward_op.register_fake
def forward_fake(qkv: Tensor, bias: Tensor, window: int, shift: int) -> tuple[Tensor, Tensor]:
    """Tensors of the shapes and dtypes that `forward_op` returns, not filled."""
    b, h, w, c3 = qkv.shape
    lse = (b * (h // window) * (w // window), bias.shape[0], bias.shape[1])
    return qkv.new_empty((b, h, w, c3 // 3)), qkv.new_empty(lse, dtype=torch.float32)


@library.custom_op("ticodec::window_attention_backward", mutates_args=())
def backward_op(
    grad_out: Tensor, qkv: Tensor, bias: Tensor, lse: Tensor, window: int, shift: int
) -> tuple[Tensor, Tensor]:
    """Returns grad_qkv and grad_bias."""
    windows, heads, t = lse.shape
    run = max(1, triton.cdiv(windows * heads, BACKWARD_PROGRAMS))
    grad_qkv = qkv.new_empty(qkv.shape)
    sums = lse.new_empty((triton.cdiv(windows, run), heads, t, t))
    inputs = [qkv.contiguous(), bias.contiguous(), lse, grad_out.contiguous()]
    launch(backward_kernel, [*inputs, grad_qkv, sums], window, shift, run)
    return grad_qkv, sums.sum(0).to(bias.dtype)


@backward_op.register_fake
def backward_fake(
    grad_out: Tensor, qkv: Tensor, bias: Tensor, lse: Tensor, window: int, shift: int
) -> tuple[Tensor, Tensor]:
    """Tensors of the shapes and dtypes that `backward_op` returns, not filled."""
    return qkv.new_empty(qkv.shape), bias.new_empty(bias.shape)


def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    """Keeps what the backward pass reads."""
    qkv, bias, ctx.window, ctx.shift = inputs
    ctx.save_for_backward(qkv, bias, output[1])


def backward(ctx: Any, grad_out: Tensor, _: Tensor) -> tuple[Tensor, Tensor, None, None]:
    """Gradients of `forward_op`'s arguments. lse gets none, because only `backward` reads it."""
    grad_qkv, grad_bias = backward_op(grad_out, *ctx.saved_tensors, ctx.window, ctx.shift)
    return grad_qkv, grad_bias, None, None


forward_op.register_autograd(backward, setup_context=setup_context)


def window_attention(qkv: Tensor, bias: Tensor, window: int, shift: int) -> Tensor:
    """Attention inside the windows of a map, with a bias for each pair of tokens.

    Args:
        qkv: (B, H, W, 3C) bfloat16, float16 or float32. Its last axis is (3, heads, d). If it is
            not contiguous, it is copied first. H and W are multiples of the window.
        bias: (heads, T, T) of any float dtype, T = window². It is used as float32.
        window: the side of a window in tokens, 4 or 8.
        shift: 0 or window // 2. With window // 2, the map is rolled by (-shift, -shift) before it
            is split into windows. Tokens from different sides of the map do not see each other.

    Returns:
        (B, H, W, C) in qkv's dtype. Each result is at the position of its query. Scores and softmax
        are computed in float32. Gradients reach qkv and bias.

    Raises:
        TypeError: qkv has another dtype.
        ValueError: shapes, window or shift do not fit together.
    """
    t = window * window
    if qkv.dtype not in (torch.bfloat16, torch.float16, torch.float32):
        raise TypeError(f"qkv is {qkv.dtype}, not bfloat16, float16 or float32")
    if window not in (4, 8) or shift not in (0, window // 2):
        raise ValueError(f"window {window} is not 4 or 8, or shift {shift} not 0 or half of it")
    if bias.dim() != 3 or bias.shape[1] != t or bias.shape[2] != t:
        raise ValueError(f"bias {tuple(bias.shape)} is not (heads, {t}, {t})")
    if qkv.dim() != 4 or qkv.shape[1] % window or qkv.shape[2] % window:
        raise ValueError(f"qkv {tuple(qkv.shape)} is not a map of windows of side {window}")
    if qkv.shape[3] % (3 * bias.shape[0]):
        raise ValueError(f"{qkv.shape[3]} channels are not 3 · {bias.shape[0]} heads · d")
    return forward_op(qkv, bias, window, shift)[0]
