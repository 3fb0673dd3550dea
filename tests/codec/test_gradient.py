"""Compares gradients through g_s with autograd in float64."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ticodec.models.conv import Conv, LinearGDN
from ticodec.models.families import build, preset
from ticodec.models.gradient import SynthesisGradient, TorchGradient
from ticodec.models.native import layers, module
from ticodec.models.native.gradient import Maps, NativeGradient
from ticodec.models.swin import SwinLayer

CPU = torch.device("cpu")
#: Largest error of a gradient, relative to its norm. Trained networks have smaller errors in bf16.
CLOSE = {torch.float32: 1e-5, torch.bfloat16: 0.15}

extension = module()
SETS = {} if extension is None else dict(extension.SETS)
needs_extension = pytest.mark.skipif(extension is None, reason="no C extension")


@pytest.fixture(params=["PyTorch", "PyTorch bf16", *SETS])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a set of kernels, or of PyTorch, which the test then uses."""
    name = str(request.param)

    def chosen(bf16: bool) -> str | None:  # the last convolution is always in float32
        if name not in SETS:
            return None
        return name if bf16 == (SETS[name] == 2) else "plain"

    monkeypatch.setattr(layers, "kernel_set", chosen)
    return name


def synthesis(name: str, **dimensions: object) -> nn.Sequential:
    """A tiny g_s in which biases and affine parts matter."""
    torch.manual_seed(1)
    small = {"N": 32, "M": 48, "heads": (2, 4, 8), "hyper_heads": (4, 4), **dimensions}
    g_s = build(preset(name, **small)).g_s
    for one in g_s.modules():
        if isinstance(one, SwinLayer):
            nn.init.normal_(one.bias_table)
        if isinstance(one, LinearGDN):
            nn.init.uniform_(one.gamma_root, 0.01, 0.3)
        if isinstance(one, SwinLayer | nn.Linear | nn.LayerNorm):
            for kind, parameter in one.named_parameters(recurse=False):
                if parameter.dim() == 1:
                    nn.init.normal_(parameter, mean=float(kind == "weight"), std=0.3)
    assert isinstance(g_s, nn.Sequential)
    return g_s


def by_autograd(g_s: nn.Sequential, y: Tensor, target: Tensor) -> Tensor:
    """The gradient of half the squared error, in float64."""
    leaf = y.double().requires_grad_()
    x = copy.deepcopy(g_s).double()(leaf)
    loss = (x - target).square().sum() / 2
    return torch.autograd.grad(loss, leaf)[0]


def check(g_s: nn.Sequential, size: tuple[int, int], kernels: str) -> SynthesisGradient:
    """Check the gradients of two maps of this size, one after the other."""
    bf16 = kernels == "PyTorch bf16" or SETS.get(kernels) == 2
    dtype = torch.bfloat16 if bf16 else torch.float32
    gradient = SynthesisGradient(g_s, CPU, dtype)
    for inference in (False, True):
        y = torch.randn(1, *size, 48)
        target = torch.randn(1, 16 * size[0], 16 * size[1], 3)
        expected = by_autograd(g_s, y, target)
        with torch.inference_mode(inference):
            found = gradient(y.clone(), lambda x, target=target: x - target)
        assert found.dtype == torch.float32
        assert found.shape == y.shape
        assert (found - expected).norm() < CLOSE[dtype] * expected.norm()
    return gradient


@pytest.mark.parametrize("size", [(4, 4), (3, 5), (1, 1)])
@pytest.mark.parametrize("name", ["tic-plus", "tic-lite"])
def test_gradients_equal_those_of_autograd(name: str, size: tuple[int, int], kernels: str) -> None:
    """Also tests maps that are not a whole number of windows."""
    gradient = check(synthesis(name), size, kernels)
    assert isinstance(gradient.way, NativeGradient if kernels in SETS else TorchGradient)


@pytest.mark.parametrize("window", [2, 6])
def test_windows_that_do_not_fill_whole_blocks(window: int, kernels: str) -> None:
    gradient = check(synthesis("tic-plus", window=window), (2, 5), kernels)
    assert isinstance(gradient.way, NativeGradient if kernels in SETS else TorchGradient)


@pytest.mark.parametrize(
    ("depths", "activation"), [((0, 1, 2), "gdn"), ((1, 0, 1), "leaky_relu"), ((1, 0, 2), "none")]
)
def test_any_order_of_layers(depths: tuple[int, ...], activation: str, kernels: str) -> None:
    """PyTorch runs what the extension cannot: an activation directly after another one."""
    gradient = check(synthesis("tic", depths=depths, activation=activation), (2, 3), kernels)
    known = activation == "none" and kernels in SETS
    assert isinstance(gradient.way, NativeGradient) == known


def test_the_network_is_not_changed() -> None:
    g_s = synthesis("tic-lite")
    before = copy.deepcopy(g_s.state_dict())
    for dtype in (torch.float32, torch.bfloat16):
        SynthesisGradient(g_s, CPU, dtype)(torch.randn(1, 2, 2, 48), torch.sin)
        TorchGradient(g_s, CPU, dtype).run(torch.randn(2, 2, 48))[1](torch.randn(32, 32, 3))
    assert all(parameter.requires_grad for parameter in g_s.parameters())
    assert all(parameter.grad is None for parameter in g_s.parameters())
    assert all(torch.equal(value, before[name]) for name, value in g_s.state_dict().items())


def test_a_loss_may_use_autograd(kernels: str) -> None:
    """It may do so in inference mode too, in which refinement runs."""
    gradient = SynthesisGradient(synthesis("tic-lite"), CPU, torch.float32)

    def of_loss(x: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            return torch.autograd.grad(leaf.pow(4).sum(), leaf)[0]

    with torch.inference_mode():
        y = torch.randn(1, 2, 2, 48)
        found, expected = gradient(y, of_loss), gradient(y, lambda x: 4 * x**3)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_memory_is_reused_when_it_has_no_references() -> None:
    maps = Maps()
    first = maps.take(4, 5, 6)
    part, place = first[1:, :3], first.data_ptr()
    del first
    assert maps.take(4, 5, 6).data_ptr() != place
    del part
    assert maps.take(2, 5, 12, dtype=torch.bfloat16).data_ptr() % 64 == 0
    assert len(maps.free) == 2
    both = [maps.take(4, 5, 6), maps.take(4, 5, 6)]
    assert place in {one.data_ptr() for one in both}
    assert maps.free == []


@needs_extension
def test_memory_is_held_until_it_is_released() -> None:
    gradient = SynthesisGradient(synthesis("tic-plus"), CPU, torch.float32)
    assert isinstance(gradient.way, NativeGradient)

    def held(*size: int) -> int:
        gradient(torch.randn(1, *size, 48), lambda x: x)
        return sum(map(len, gradient.way.maps.free))

    most = held(8, 8)
    assert most > 0
    assert held(8, 8) == held(4, 4) == most
    assert held(12, 8) < 2 * most
    gradient.release()
    assert gradient.way.maps.free == []
    assert held(4, 4) < most


@needs_extension
def test_threads_may_share_a_gradient() -> None:
    gradient = SynthesisGradient(synthesis("tic-plus"), CPU, torch.float32)
    ys = [torch.randn(1, 2 + i % 3, 4, 48) for i in range(12)]
    expected = [gradient(y, lambda x: x) for y in ys]
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda y: gradient(y, lambda x: x), ys)
        assert all(map(torch.equal, found, expected))


@needs_extension
def test_kernels_refuse_arrays_that_do_not_fit() -> None:
    """Every size is checked in C, so that no read is out of bounds."""
    assert extension is not None
    plain = layers.NativeSwin(SwinLayer(16, 2, 4, True, 2), torch.float32)
    swin = layers.NativeSwin(SwinLayer(16, 2, 4, True, 2), torch.float32, back=True)
    x = np.zeros((8, 8, 16), np.float32)

    def run(*size: int, layer: object = swin.layer, of: object = x, above: object = x) -> None:
        extension.swin_gradient(layer, size, of, above, None, x, np.zeros(1, np.int64))

    run(8, 8, 0)
    for size in [(7, 8, 0), (8, 6, 0), (8, 8, 1), (8, 8, 4), (0, 8, 0), (-8, -8, 0)]:
        with pytest.raises(ValueError, match="not rows of windows"):
            run(*size)
    for wrong in (x.astype(np.float64), x[:4], x[:, ::2], b"text", None):
        with pytest.raises(BufferError):
            run(8, 8, 0, of=wrong)
        with pytest.raises(BufferError):
            run(8, 8, 0, above=wrong)
    with pytest.raises(ValueError, match="without gradients"):
        run(8, 8, 0, layer=plain.layer)


@needs_extension
def test_activations_refuse_arrays_that_do_not_fit() -> None:
    assert extension is not None
    conv, x = Conv(16, 16, 3, 2, up=True), np.zeros((4, 5, 16), np.float32)
    normalised = layers.NativeConv(conv, LinearGDN(16, True), torch.float32, back=True)

    def run(*size: int, of: layers.NativeConv = normalised, kept: object = x) -> None:
        extension.activation_gradient(of.layer, size, kept, x, x, np.zeros(1, np.int64))

    run(4, 80, 80, 0)
    for size in [(4, 81, 81, 0), (4, 80, 79, 0), (4, 64, 80, 17), (-4, 80, 80, 0), (4, 80, 80, -1)]:
        with pytest.raises(ValueError, match="not rows of such a layer"):
            run(*size)
    with pytest.raises(BufferError):
        run(5, 80, 80, 0)
    with pytest.raises(BufferError):
        run(4, 80, 80, 0, kept=x[:3])
    with pytest.raises(ValueError, match="`kept` is missing"):
        run(4, 80, 80, 0, kept=None)
    for other in (LinearGDN(16, False), LinearGDN(16, True)):
        with pytest.raises(ValueError, match="without gradients"):
            run(4, 80, 80, 0, of=layers.NativeConv(conv, other, torch.float32))
