"""Gradients through g_s are those of autograd in float64."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from ticodec.models.families import build, preset
from ticodec.models.gradient import SynthesisGradient
from ticodec.models.swin import SwinLayer

CPU = torch.device("cpu")
#: Largest error of a gradient, relative to its norm.
CLOSE = {torch.float32: 1e-4, torch.bfloat16: 0.08}


def synthesis(name: str) -> nn.Sequential:
    """A tiny g_s in which biases and affine parts matter."""
    torch.manual_seed(1)
    g_s = build(preset(name, N=32, M=48, heads=(2, 4, 8), hyper_heads=(4, 4))).g_s
    for one in g_s.modules():
        if isinstance(one, SwinLayer):
            nn.init.normal_(one.bias_table)
        if isinstance(one, SwinLayer | nn.Linear | nn.LayerNorm):
            for parameter_name, parameter in one.named_parameters(recurse=False):
                if parameter.dim() == 1:
                    nn.init.normal_(parameter, mean=float(parameter_name == "weight"), std=0.3)
    assert isinstance(g_s, nn.Sequential)
    return g_s


def by_autograd(g_s: nn.Sequential, y: Tensor, target: Tensor) -> Tensor:
    """The gradient of half the squared error, in float64."""
    leaf = y.double().requires_grad_()
    x = copy.deepcopy(g_s).double()(leaf)
    loss = (x - target).square().sum() / 2
    return torch.autograd.grad(loss, leaf)[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [(4, 4), (3, 5), (1, 1)])
@pytest.mark.parametrize("name", ["tic", "tic-plus", "tic-lite"])
def test_gradients_are_those_of_autograd(
    name: str, size: tuple[int, int], dtype: torch.dtype
) -> None:
    """Also where maps are no whole windows."""
    g_s = synthesis(name)
    y = torch.randn(1, *size, 48)
    target = torch.randn(1, 16 * size[0], 16 * size[1], 3)
    expected = by_autograd(g_s, y, target)
    gradient = SynthesisGradient(g_s, CPU, dtype)
    for inference in (False, True):
        with torch.inference_mode(inference):
            found = gradient(y.clone(), lambda x: x - target)
        assert found.dtype == torch.float32
        assert found.shape == y.shape
        assert (found - expected).norm() < CLOSE[dtype] * expected.norm()
    assert not any(parameter.grad is not None for parameter in g_s.parameters())
