"""Compares window attention and its explicit gradient with autograd through plain operations."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor

from ticodec.models import attention
from ticodec.models.attention import shift_regions, window_attention
from ticodec.models.swin import partition, unpartition

TYPES = (torch.bfloat16, torch.float32)


def plain(qkv: Tensor, bias: Tensor, window: int, shift: int) -> Tensor:
    """Window attention step by step as in the Swin paper: roll, partition, mask, softmax."""
    b, h, w, c = qkv.shape
    heads, t, d = len(bias), window * window, c // 3 // len(bias)
    tokens = partition(qkv.roll((-shift, -shift), (1, 2)), window)
    q, k, v = tokens.reshape(-1, t, 3, heads, d).permute(2, 0, 3, 1, 4)
    scores = q @ k.mT * d**-0.5 + bias
    if shift:
        regions = shift_regions(h, w, window)
        apart = regions[:, :, None] != regions[:, None, :]
        scores = scores.reshape(b, -1, heads, t, t)
        scores = scores.masked_fill(apart[:, None], -torch.inf).reshape(-1, heads, t, t)
    out = (scores.softmax(-1) @ v).transpose(1, 2).reshape(-1, t, heads * d)
    return unpartition(out, window, h, w).roll((shift, shift), (1, 2))


def case(window: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """qkv and bias that require gradients, and a gradient of the output."""
    torch.manual_seed(window)
    qkv = torch.randn(2, 3 * window, 2 * window, 3 * 4 * 6, dtype=dtype, requires_grad=True)
    bias = torch.randn(4, window**2, window**2, dtype=dtype, requires_grad=True)
    return qkv, bias, torch.randn(*qkv.shape[:3], 4 * 6, dtype=dtype)


@pytest.mark.parametrize("window", [4, 8])
@pytest.mark.parametrize("shifted", [False, True])
def test_values_and_gradients_equal_the_plain_computation(window: int, shifted: bool) -> None:
    qkv, bias, above = case(window, torch.float64)
    shift = window // 2 if shifted else 0
    for got, wanted in zip(
        (lambda y: (y, *torch.autograd.grad(y, (qkv, bias), above)))(
            window_attention(qkv, bias, window, shift)
        ),
        (lambda y: (y, *torch.autograd.grad(y, (qkv, bias), above)))(
            plain(qkv, bias, window, shift)
        ),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted)


def test_bfloat16_with_a_float32_bias_is_as_close_as_bfloat16_can_be() -> None:
    qkv, bias, above = case(8, torch.float64)
    out = plain(qkv, bias, 8, 4)
    wanted = (out, *torch.autograd.grad(out, (qkv, bias), above))
    low, single = (
        x.detach().to(t).requires_grad_() for x, t in zip((qkv, bias), TYPES, strict=True)
    )
    out = window_attention(low, single, 8, 4)
    got = (out, *torch.autograd.grad(out, (low, single), above.bfloat16()))
    assert [x.dtype for x in got] == [torch.bfloat16, *TYPES]
    for mine, exact in zip(got, wanted, strict=True):
        assert (mine.double() - exact).norm() < 0.01 * exact.norm()


def test_a_gpu_uses_the_kernel_if_there_is_one(monkeypatch) -> None:
    qkv, bias, _ = case(4, torch.float32)
    taken = []
    monkeypatch.setattr(attention, "on_gpu", lambda x: True)
    monkeypatch.setattr(attention, "gpu_kernel", lambda: lambda *given: taken.append(given))
    window_attention(qkv, bias, 4, 2)
    assert taken == [(qkv, bias, 4, 2)]
    monkeypatch.undo()
    monkeypatch.setattr(attention, "on_gpu", lambda x: True)
    monkeypatch.setitem(sys.modules, "ticodec.models.attention_gpu", None)
    attention.gpu_kernel.cache_clear()
    with pytest.warns(UserWarning, match="no fused attention"):
        torch.testing.assert_close(window_attention(qkv, bias, 4, 2), plain(qkv, bias, 4, 2))
    attention.gpu_kernel.cache_clear()


@pytest.mark.parametrize("size", [1e3, -1e3])
def test_scores_that_would_overflow_stay_finite(size: float) -> None:
    qkv, bias, above = case(4, torch.float32)
    out = window_attention(qkv, bias + size, 4, 2)
    grads = torch.autograd.grad(out, (qkv, bias), above)
    assert all(x.isfinite().all() for x in (out, *grads))
