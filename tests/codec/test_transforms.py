"""The transforms in bands, in the extension and in PyTorch, equal the modules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ticodec.models import bands, inference
from ticodec.models.conv import Conv, LinearGDN
from ticodec.models.families import build, preset
from ticodec.models.inference import Transform
from ticodec.models.native import layers, module
from ticodec.models.swin import STB, SwinLayer

CPU = torch.device("cpu")
extension = module()
SETS = [] if extension is None else list(extension.SETS)
needs_extension = pytest.mark.skipif(extension is None, reason="no C extension")


@pytest.fixture(params=["PyTorch", *(name for name, _ in SETS)])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a set of kernels, or of PyTorch, which the test then uses."""
    name = str(request.param)

    def chosen(bf16: bool) -> str | None:  # the last convolution is always in float32
        if name == "PyTorch":
            return None
        return name if bf16 == (dict(SETS)[name] == 2) else "plain"

    monkeypatch.setattr(layers, "kernel_set", chosen)
    return name


def operands(kernels: str) -> torch.dtype:
    """The type of the operands of a set of kernels."""
    return torch.bfloat16 if dict(SETS).get(kernels) == 2 else torch.float32


def check(result: Tensor, expected: Tensor, kernels: str) -> None:
    """Assert that errors are as small as rounding, relative to the spread of values."""
    scale = expected.std()
    error = (result - expected) / scale
    bf16 = operands(kernels) == torch.bfloat16
    assert error.abs().max() < (0.1 if bf16 else 1e-4)
    assert error.square().mean().sqrt() < (0.01 if bf16 else 1e-5)


def randomised(network: nn.Module) -> nn.Module:
    """Give a network random biases and affine parts, so that all of them matter."""
    for one in network.modules():
        if isinstance(one, SwinLayer):
            nn.init.normal_(one.bias_table, std=2.0)
        if isinstance(one, SwinLayer | nn.Linear | nn.LayerNorm):
            for name, parameter in one.named_parameters(recurse=False):
                if parameter.dim() == 1:
                    nn.init.normal_(parameter, mean=float(name == "weight"))
    return network.eval()


@pytest.mark.parametrize("name", ["tic", "tic-plus", "tic-lite"])
@pytest.mark.parametrize("size", [(64, 64), (192, 128)])
def test_transforms_equal_the_modules(
    name: str, size: tuple[int, int], kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bands have only a few rows, so that layers wait for each other."""
    monkeypatch.setitem(inference.BAND_BYTES, "cpu", 20_000)
    torch.manual_seed(1)
    network = randomised(build(preset(name, N=32, M=48, heads=(2, 4, 8), hyper_heads=(4, 4))))
    x = torch.randn(1, *size, 3)
    with torch.inference_mode():
        y = network.g_a(x)
        for of, value in [(network.g_a, x), (network.h_a, y), (network.g_s, y)]:
            expected = of(value)
            fast = Transform(of, CPU, operands(kernels))
            check(fast(value), expected, kernels)


def test_icat_has_only_convolutions(kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(inference.BAND_BYTES, "cpu", 10_000)
    torch.manual_seed(1)
    network = build(preset("icat-lite", N=24, M=32)).eval()
    x = torch.rand(1, 96, 160, 3) - 0.5
    with torch.inference_mode():
        y = network.g_a(x)
        of = torch.randn(1, 6, 10, network.config.vit.C)
        for part, value in [(network.g_a, x), (network.h_a, y), (network.g_s, of)]:
            expected = part(value)
            fast = Transform(part, CPU, operands(kernels))
            check(fast(value), expected, kernels)


@pytest.mark.parametrize("heads", [2, 4, 8])
@pytest.mark.parametrize("window", [2, 4, 8])
@pytest.mark.parametrize("size", [(8, 8), (5, 11), (24, 16), (40, 3)])
def test_blocks_of_any_size(heads: int, window: int, size: tuple[int, int], kernels: str) -> None:
    """Some maps are not whole windows, and some heads do not fill a vector."""
    torch.manual_seed(2)
    block = randomised(STB(48, 3, heads, window, 2))
    x = torch.randn(1, *size, 48)
    with torch.inference_mode():
        expected = block(x)[0]
        block.to(operands(kernels))
        stage = bands.STBStage(block, operands(kernels), native=True)
        found = gathered(stage, x[0], 3)
    check(found, expected, kernels)
    assert (kernels == "PyTorch") == isinstance(stage.layers[0], bands.TorchSwin)


@pytest.mark.parametrize("channels", [(3, 32), (7, 12), (32, 3), (20, 40)])
@pytest.mark.parametrize("kind", ["3 down", "5 down", "3", "5", "3 up", "5 up"])
@pytest.mark.parametrize("size", [(1, 1), (7, 9), (12, 10)])
def test_convolutions_of_any_size(
    channels: tuple[int, int], kind: str, size: tuple[int, int], kernels: str
) -> None:
    torch.manual_seed(3)
    up, stride = "up" in kind, 1 if len(kind) == 1 else 2
    conv = Conv(*channels, int(kind[0]), stride, up=up).eval()
    x = torch.randn(1, *size, channels[0])
    with torch.inference_mode():
        expected = conv(x)[0]
        conv.to(operands(kernels))
        stage = bands.ConvStage(conv, None, operands(kernels), native=True)
        found = gathered(stage, x[0], 2)
    check(found, expected, kernels)
    even = operands(kernels) == torch.float32 or channels[0] % 2 == 0 or not up
    assert (stage.native is None) == (kernels == "PyTorch") or not even


@pytest.mark.parametrize("inverse", [False, True])
def test_normalisation_follows_in_place(inverse: bool, kernels: str) -> None:
    torch.manual_seed(4)
    conv, gdn = Conv(16, 32, 3, 2, up=inverse).eval(), LinearGDN(32, inverse)
    nn.init.uniform_(gdn.gamma_root, 0.01, 0.3)
    x = torch.randn(1, 10, 100, 16)
    with torch.inference_mode():
        expected = gdn(conv(x))[0]
        stage = bands.ConvStage(
            conv.to(operands(kernels)), gdn.to(operands(kernels)), operands(kernels), native=True
        )
        found = gathered(stage, x[0], 4)
    check(found, expected, kernels)


def gathered(stage: bands.Stage, x: Tensor, rows: int) -> Tensor:
    """The output of a layer for a map (H, W, C) that it gets in bands of `rows` rows."""
    height, width, channels = x.shape
    found = stage.run(iter(x.split(rows)), (height, width, channels))
    return torch.cat([band.float().clone() for band in found])


@needs_extension
def test_kernels_refuse_arrays_that_do_not_fit() -> None:
    """Every size is checked in C, so that no read is out of bounds."""
    assert extension is not None
    torch.manual_seed(5)
    swin = layers.NativeSwin(SwinLayer(16, 2, 4, True, 2), torch.float32)
    conv = layers.NativeConv(Conv(16, 16, 3, 2), None, torch.float32)
    x = np.zeros((8, 8, 16), np.float32)
    y = np.zeros((3, 3, 16), np.float32)
    taken = np.zeros(1, np.int64)

    def run_swin(*size: int, of: Any = x, to: Any = x, counter: Any = taken) -> None:
        extension.swin(swin.layer, size, of, None, to, counter)

    def run_conv(*size: int, of: Any = x, to: Any = y) -> None:
        extension.conv(conv.layer, size, of, to, taken.copy())

    run_swin(8, 8, 0)
    run_conv(8, 8, 3, 3)
    for size in [(7, 8, 0), (8, 6, 0), (8, 8, 1), (8, 8, 4), (0, 8, 0), (-8, -8, 0)]:
        with pytest.raises(ValueError, match="not rows of windows"):
            run_swin(*size)
    for wrong in (x.astype(np.float64), x[:4], x[:, ::2], b"text", np.zeros((8, 8, 17))):
        with pytest.raises((BufferError, ValueError)):
            run_swin(8, 8, 0, of=wrong)
    frozen = x.copy()
    frozen.flags.writeable = False
    with pytest.raises(BufferError, match="writable"):
        run_swin(8, 8, 0, to=frozen)
    with pytest.raises(BufferError):
        run_swin(8, 8, 0, counter=np.zeros(2, np.int64))
    for size in [(8, 8, 4, 3), (8, 8, 3, 30), (8, 8, 0, 3), (-8, -8, 3, 3)]:
        with pytest.raises(ValueError, match="not rows of such a convolution"):
            run_conv(*size)
    with pytest.raises(BufferError):
        run_conv(8, 8, 3, 2)
    with pytest.raises(ValueError, match="another kind"):
        extension.swin(conv.layer, (8, 8, 0), x, None, x, taken)
    with pytest.raises(ValueError, match="no such instructions"):
        extension.conv_layer("z80", (16, 16, 2, 1, 0), (), None)


@needs_extension
def test_unsupported_layers_run_in_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extension has no kernel for seven channels, and none for this slope of LeakyReLU."""
    assert layers.NativeSwin.of(SwinLayer(7, 1, 4, False, 2), torch.float32) is None
    assert layers.NativeConv.of(Conv(3, 16, 3, 2), nn.LeakyReLU(0.2), torch.float32) is None
    monkeypatch.setattr(layers, "kernel_set", lambda bf16: None)
    assert layers.NativeSwin.of(SwinLayer(16, 1, 4, False, 2), torch.float32) is None
