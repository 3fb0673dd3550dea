"""Weights files whose numbers are not those of an export are refused when they are loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from ticodec import weights
from ticodec.codec import Codec
from ticodec.entropy import native
from ticodec.errors import BadInputError

#: Damages of any tensor.
DAMAGES: dict[str, Callable[[Tensor], Tensor]] = {
    "one number": lambda tensor: torch.tensor(1, dtype=tensor.dtype),
    "a dimension more": lambda tensor: tensor[None],
    "bfloat16": lambda tensor: tensor.bfloat16(),
    "complex": lambda tensor: tensor.to(torch.complex64),
    "truth": lambda tensor: tensor.bool(),
    "nothing": lambda tensor: tensor.flatten()[:0],
}
#: One tensor of each kind.
NAMES = ["cam.qkv.weight", "h_s.up0.bias", "head.means.exponent", "cam.frac", "cam.bias"]
NAMES += ["h_s.stb0.0.bias", "exp", "gelu", "y.halves", "z.frequencies", "z.centres"]
NAMES += ["y.thresholds"]


@pytest.fixture(params=["0", "1"], ids=["torch", "native"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The exact path in torch, and in C where it is built."""
    monkeypatch.setenv("TICODEC_NATIVE", request.param)
    native.module.cache_clear()
    yield
    native.module.cache_clear()


def refused(monkeypatch: pytest.MonkeyPatch, **changes: Tensor) -> str:
    """The message when the tiny network is loaded with these tensors of its exact path."""
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
    """A layer with an input less, or an output less."""
    tensors = weights.read(weights.find("tiny"))[1]
    layer = {kind: tensors[f"exact.{name}.{kind}"] for kind in ("weight", "bias", "exponent")}
    narrow = layer["weight"][:, :-1].contiguous()
    assert refused(monkeypatch, **{f"{name}.weight": narrow})
    assert refused(monkeypatch, **{f"{name}.{kind}": value[:-1] for kind, value in layer.items()})
