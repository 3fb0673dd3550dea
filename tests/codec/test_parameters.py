"""Weights files with numbers that no export writes are refused when they are loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from ticodec import weights
from ticodec.codec import Codec
from ticodec.entropy import native
from ticodec.errors import BadInputError, TicodecError
from ticodec.picture import Picture

#: Ways to damage a tensor.
DAMAGES: dict[str, Callable[[Tensor], Tensor]] = {
    "one number": lambda tensor: torch.tensor(1, dtype=tensor.dtype),
    "a dimension more": lambda tensor: tensor[None],
    "bfloat16": lambda tensor: tensor.bfloat16(),
    "complex": lambda tensor: tensor.to(torch.complex64),
    "truth": lambda tensor: tensor.bool(),
    "nothing": lambda tensor: tensor.flatten()[:0],
}
#: The name of one tensor of each kind.
NAMES = ["cam.qkv.weight", "h_s.up0.bias", "head.means.exponent", "cam.frac", "cam.bias"]
NAMES += ["h_s.stb0.0.bias", "exp", "gelu", "y.halves", "z.frequencies", "z.centres"]
NAMES += ["y.thresholds"]


@pytest.fixture(params=["0", "1"], ids=["torch", "native"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs a test with the exact path in torch, and in C if that is built."""
    monkeypatch.setenv("TICODEC_NATIVE", request.param)
    native.module.cache_clear()
    yield
    native.module.cache_clear()


def refused(monkeypatch: pytest.MonkeyPatch, **changes: Tensor) -> str:
    """The error of loading the tiny network with these tensors of its exact path."""
    entry = weights.find("tiny")
    fields, tensors = weights.read(entry)
    changed = {f"exact.{name}": tensor for name, tensor in changes.items()}
    with monkeypatch.context() as patch:
        patch.setattr(weights, "read", lambda _: (fields, {**tensors, **changed}))
        with pytest.raises(BadInputError) as error:
            Codec(entry, "cpu", bf16=False)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("name", NAMES)
def test_forms_that_no_export_writes(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    whole = weights.read(weights.find("tiny"))[1][f"exact.{name}"]
    for kind, damage in DAMAGES.items():
        damaged = damage(whole)
        if kind != "one number" or whole.ndim:
            assert refused(monkeypatch, **{name: damaged}), kind


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("value", [-600, -1, 15, 600, 32767])
@pytest.mark.parametrize("name", ["cam.frac", "cam.qkv.frac", "h_s.stb0.0.mlp1.frac"])
def test_grids_that_no_export_writes(
    monkeypatch: pytest.MonkeyPatch, name: str, value: int
) -> None:
    message = refused(monkeypatch, **{name: torch.tensor(value, dtype=torch.int16)})
    assert f"{name} is {value}, not 0 to 14" in message


@pytest.mark.usefixtures("path")
def test_other_numbers_that_no_export_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = weights.read(weights.find("tiny"))[1]
    exponent = torch.full_like(tensors["exact.h_s.out.exponent"], -1000)
    assert "h_s.out.exponent is outside" in refused(monkeypatch, **{"h_s.out.exponent": exponent})
    finer = torch.tensor(12, dtype=torch.int16)
    assert "no grid of 12" in refused(monkeypatch, **{"cam.mlp1.frac": finer})
    falling = tensors["exact.y.thresholds"].flip(0)
    assert "do not ascend" in refused(monkeypatch, **{"y.thresholds": falling})


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("layer", ["h_s.stb0.0.proj", "h_s.stb1.1.mlp2"])
def test_residuals_on_other_grids(monkeypatch: pytest.MonkeyPatch, layer: str) -> None:
    other = torch.tensor(3, dtype=torch.int16)
    assert "another grid" in refused(monkeypatch, **{f"{layer}.frac": other})


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("name", ["cam.mlp1", "head.hyper", "head.means", "h_s.up1", "h_s.out"])
def test_layers_that_do_not_fit(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A layer has one input too few, or one output too few."""
    tensors = weights.read(weights.find("tiny"))[1]
    layer = {kind: tensors[f"exact.{name}.{kind}"] for kind in ("weight", "bias", "exponent")}
    narrow = layer["weight"][:, :-1].contiguous()
    assert refused(monkeypatch, **{f"{name}.weight": narrow})
    assert refused(monkeypatch, **{f"{name}.{kind}": value[:-1] for kind, value in layer.items()})


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("part", ["float.g_a", "float.h_a"])
def test_latents_that_are_not_finite(
    monkeypatch: pytest.MonkeyPatch, part: str, value: float
) -> None:
    """A network with such weights can be loaded, but not used for coding."""
    entry = weights.find("tiny")
    fields, tensors = weights.read(entry)
    damaged = {
        name: torch.full_like(tensor, value) if name.startswith(part) else tensor
        for name, tensor in tensors.items()
    }
    monkeypatch.setattr(weights, "read", lambda _: (fields, damaged))
    codec = Codec(entry, "cpu", bf16=False)
    with pytest.raises(BadInputError, match="not finite"):
        codec.encode_many([Picture(np.zeros((9, 9, 3), np.uint8))])


def test_a_lack_of_memory_is_not_reported_as_damage(
    tiny: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's error about memory while loading is passed on."""
    with pytest.raises(RuntimeError) as short:
        torch.empty(2**50, dtype=torch.int8)

    def fail(*_: object) -> None:
        raise short.value

    monkeypatch.setattr("ticodec.codec.EntropyCoder", fail)
    with pytest.raises(TicodecError, match="not enough memory") as error:
        Codec(tiny.entry, "cpu", bf16=False)
    assert error.value.exit_code == 1
