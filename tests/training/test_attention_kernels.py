"""Which attention kernels a network needs, and compiling them in other processes."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
from support import CPU, SMALL
from torch import Tensor

from ticodec.models.attention import window_attention
from ticodec.models.config import IcatConfig, ViTConfig
from ticodec.models.families import build, preset
from ticodec.training.attention_kernels import Kind, compile_all, compile_kind, kinds


def test_the_kinds_of_kernels_that_tic_plus_needs() -> None:
    with torch.device("meta"):
        network = build(preset("tic-plus"))
    wanted = {(8, 0, 4, 32), (8, 4, 4, 32), (8, 0, 8, 16), (8, 4, 8, 16)}
    wanted |= {(8, 0, 16, 8), (8, 4, 16, 8), (4, 0, 16, 8), (4, 2, 16, 8)}
    assert len(kinds(network)) == len(wanted)
    assert set(kinds(network)) == wanted


def test_a_network_without_windows_needs_no_kernel() -> None:
    vit = ViTConfig(C=16, L=4, heads=2, grid=4)
    assert kinds(build(IcatConfig(N=16, M=16, vit=vit, labels=("ant", "bee")))) == []


def test_every_kind_runs_forward_and_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    network, seen = build(SMALL), []

    def attention(qkv: Tensor, bias: Tensor, window: int, shift: int) -> Tensor:
        bias.register_hook(lambda gradient: seen.append(Kind(*kind)))
        heads = len(bias)
        kind = (window, shift, heads, qkv.shape[-1] // 3 // heads)
        return window_attention(qkv, bias, window, shift)

    kernels = SimpleNamespace(window_attention=attention)
    monkeypatch.setitem(sys.modules, "ticodec.models.attention_gpu", kernels)
    for kind in kinds(network):
        compile_kind(kind, "cpu", torch.float32)
    assert seen == kinds(network)


def test_nothing_is_compiled_for_a_cpu() -> None:
    assert compile_all(build(SMALL), CPU, torch.bfloat16) == []


def test_processes_that_cannot_compile_do_no_harm(capfd: pytest.CaptureFixture) -> None:
    network = build(SMALL)
    started = compile_all(network, torch.device("cuda:99"), torch.bfloat16)  # there is no such GPU
    assert len(started) == len(kinds(network))
    for process in started:
        process.join(60)
        assert process.exitcode == 0
    assert capfd.readouterr() == ("", "")
