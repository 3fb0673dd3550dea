"""Kernels for AMX, which few processors have. Here its instructions are emulated in C."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest
import torch
from support import ROOT
from torch import nn

from ticodec.models import native
from ticodec.models.conv import Conv, LinearGDN
from ticodec.models.native import layers
from ticodec.models.swin import SwinLayer

SOURCES = ROOT / "codec/models/native"
COMPILER = shutil.which("cc") or shutil.which("gcc")


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The extension, built with an emulation of AMX."""
    real = native.module()
    if COMPILER is None or real is None or "avx512bf16" not in dict(real.SETS):
        pytest.skip("needs a compiler and a processor with AVX512-BF16")
    built: Path = tmp_path_factory.mktemp("amx") / "_kernels.so"
    flags = ["-std=gnu11", "-O2", "-shared", "-fPIC", "-DEMULATE_AMX"]
    include = f"-I{sysconfig.get_paths()['include']}"
    command = [COMPILER, *flags, include, *map(str, SOURCES.glob("*.c")), "-o", built, "-lm"]
    subprocess.run(command, check=True)
    loader = ExtensionFileLoader("_kernels", str(built))
    spec = spec_from_loader("_kernels", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture
def by_both(
    emulated: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[], torch.Tensor], float], None]:
    """A function that runs a layer with the kernels for AVX512 and for AMX, and compares them.

    `least` is the smallest standard deviation that the results may have.
    """

    def compare(run: Callable[[], torch.Tensor], least: float) -> None:
        results = []
        for name in ("avx512bf16", "amxbf16"):
            monkeypatch.setattr(layers, "module", lambda: emulated)
            monkeypatch.setattr(layers, "kernel_set", lambda bf16, name=name: name)
            results.append(run())
        torch.testing.assert_close(*results, rtol=0.01, atol=0.01)
        assert results[0].std() > least

    return compare


def swin_layer(absent: int) -> SwinLayer:
    """A layer, whose windows are shifted if rows are absent."""
    torch.manual_seed(0)
    layer = SwinLayer(64, 2, 8, absent > 0, 4)
    nn.init.normal_(layer.bias_table)
    return layer


def test_amx_is_the_first_choice(emulated: ModuleType) -> None:
    assert emulated.SETS[0] == ("amxbf16", 2)


@pytest.mark.parametrize("absent", [0, 4])
def test_swin_layers_equal_those_of_avx512(by_both, absent: int) -> None:
    """Tests whole windows, and half windows at the top and the bottom."""
    layer, x = swin_layer(absent), torch.randn(16 - absent, 24, 64)

    def run() -> torch.Tensor:
        y = torch.empty_like(x)
        layers.NativeSwin(layer, torch.bfloat16).run(x, x, y, absent)
        return y

    by_both(run, 1)


@pytest.mark.parametrize("absent", [0, 4])
def test_gradients_equal_those_of_avx512(by_both, absent: int) -> None:
    layer = swin_layer(absent)
    x, above = torch.randn(2, 16 - absent, 24, 64)

    def run() -> torch.Tensor:
        found = torch.empty_like(x)
        swin = layers.NativeSwin(layer, torch.bfloat16, back=True)
        swin.gradient(x, above, above, found, absent)
        return found

    by_both(run, 1)


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("channels", [(64, 32), (32, 48), (24, 80)])
def test_convolutions_equal_those_of_avx512(by_both, up: bool, channels: tuple[int, int]) -> None:
    """Tests one and two blocks of outputs, and rows and inputs that do not fill whole tiles."""
    torch.manual_seed(0)
    conv, gdn = Conv(*channels, 3, 2, up=up), LinearGDN(channels[1], up)

    def run() -> torch.Tensor:
        native_conv = layers.NativeConv(conv, gdn, torch.bfloat16)
        left, right = native_conv.borders(75)
        torch.manual_seed(1)
        near = torch.randn(9, left + 75 + right, channels[0]).bfloat16()
        rows, width = (14, 150) if up else (4, 38)
        return native_conv.run(near, torch.empty(rows, width, native_conv.outputs))

    by_both(run, 0.1)
