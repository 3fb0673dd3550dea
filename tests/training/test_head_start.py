"""Weights that a classifier can begin from: of its kind, another kind, other labels or crops."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support import CPU
from toys import (
    FIRST,
    ICAT,
    LEARNED,
    PIXELS,
    SECOND,
    VIT,
    of_tiny,
    quiet,
    saved,
    write_toys,
)

from ticodec.codec import Codec
from ticodec.errors import BadInputError, TicodecError
from ticodec.models.config import VITS
from ticodec.models.icat import Icat
from ticodec.training import checkpoint, start
from ticodec.training.float_latents import latents
from ticodec.training.head_trainer import HeadTrainer
from ticodec.training.joint_trainer import JointTrainer
from ticodec.training.least_squares import stitch
from ticodec.training.request import Request
from ticodec.training.trainer import BaseTrainer


def test_new_classes_replace_only_the_layer_of_labels(toys: Path, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(VITS, "vit-lite", replace(VIT, grid=14))
    path = saved(HeadTrainer(PIXELS, FIRST, CPU), toys, tmp_path / "a.pt")
    began = checkpoint.load(path)["average"]
    own = write_toys(tmp_path / "own", 2, ("cat", "dog"))
    for folder, new in ((toys, set()), (own, {"head.weight", "head.bias"})):
        trainer = start.start(Request(folder, "vit-lite", {"crop": 64}, CPU, init=str(path)))
        now = trainer.network.state_dict()
        kept = {name for name in began if torch.equal(began[name], now[name])}
        assert set(began) - kept == new
        assert [run["crops"] for run in trainer.history] == [8]
    assert trainer.config.labels == ("cat", "dog")
    assert trainer.config.vit == VIT


def test_a_head_can_begin_from_a_joint_models_classifier(joint: Codec, tmp_path: Path) -> None:
    own = write_toys(tmp_path / "own", 2, ("cat", "dog"))
    trainer = start.start(Request(own, "joint", {"crop": 64}, CPU, init="joint", head=True))
    assert (trainer.config.codec, trainer.config.channels) == ("joint", 16)
    vit = joint.network.vit.state_dict()
    now = trainer.network.state_dict()
    assert {name for name in vit if not torch.equal(vit[name], now[name])} == {
        "head.weight", "head.bias",
    }  # fmt: skip


def test_weights_that_cannot_begin_a_classifier(joint: Codec, toys: Path, tmp_path: Path) -> None:
    def refused(message: str, model: str, init: str, **more: object) -> None:
        with pytest.raises(TicodecError, match=message):
            start.start(Request(toys, model, {"crop": 64}, CPU, init=init, **more))

    pixels = str(saved(HeadTrainer(PIXELS, FIRST, CPU), toys, tmp_path / "a.pt", 1))
    refused("is not of the size vit-lite", "vit-lite", pixels)
    refused("tiny have no classifier", "tiny", "tiny", head=True)
    refused("is a classifier: give `head` to start from it", "icat", pixels)


def test_positions_are_interpolated_for_larger_crops(toys: Path, tmp_path: Path) -> None:
    """Training begins on small crops and continues on larger ones."""
    first = start.start(Request(toys, "vit-lite", {"crop": 64}, CPU))
    first.average.load_state_dict(first.network.state_dict())
    first.calibration = torch.zeros(1)
    first.save(tmp_path / "small.pt")
    second = start.start(
        Request(toys, "vit-lite", {"crop": 96}, CPU, init=str(tmp_path / "small.pt"))
    )
    old, new = first.network.position.detach(), second.network.position.detach()
    assert second.config.vit.grid == 6
    assert new.shape == (1, 6, 6, old.shape[-1])
    torch.testing.assert_close(new.mean(), old.mean(), atol=0.002, rtol=0.3)
    torch.testing.assert_close(second.network.embed.weight, first.network.embed.weight)


@pytest.mark.parametrize("case", ["joint to latents", "joint to pixels", "pixels to latents"])
def test_beginning_from_a_classifier_of_other_inputs(case: str, toys: Path, tmp_path: Path) -> None:
    """All is kept but the first layer, which is fitted to give the tokens of the old one."""
    vit = replace(VITS["vit-lite"], grid=4) if case == "joint to pixels" else VIT
    other: BaseTrainer = HeadTrainer(PIXELS, FIRST, CPU)
    if case.startswith("joint"):
        other = JointTrainer(replace(ICAT, vit=vit), FIRST, CPU)
    path = saved(other, toys, tmp_path / "other.pt", 3)
    to = ("vit-lite", False) if case.endswith("pixels") else ("tiny", True)
    options = {**LEARNED, "augment": "none"}
    begun = start.start(Request(toys, to[0], options, CPU, init=str(path), head=to[1]))
    assert isinstance(begun, HeadTrainer)
    assert begun.imitated is not None
    old = other.average.get_submodule("vit") if case.startswith("joint") else other.average
    own = ("embed", "halve")  # they belong to the input
    kept = {k: v for k, v in old.state_dict().items() if not k.startswith(own)}
    data, line = begun.load_data(toys, quiet)
    for network in (begun.network, begun.average):
        assert all(torch.equal(network.state_dict()[k], v) for k, v in kept.items())
    x = torch.cat([x for x, _ in data.images.centre(64)])
    wanted = begun.imitated(x)
    found = begun.average.embed(begun.read(x, torch.full((len(x),), 3.0)))
    assert wanted.shape == found.shape == (3, 4, 4, vit.C)
    left = (found - wanted).square().mean() / (wanted - wanted.mean((0, 1, 2))).square().mean()
    told = int(line.rpartition("explain ")[2].partition("%")[0]) / 100
    assert 1 - float(left) == pytest.approx(told, abs=0.2)
    assert told > 0.25  # the images are colours with noise, and only the colours are common


@pytest.mark.parametrize("step", [1, 2])
def test_a_joint_model_to_begin_from_gets_its_usual_latents(
    step: int, toys: Path, tmp_path: Path
) -> None:
    joint = JointTrainer(ICAT, FIRST if step == 1 else SECOND, CPU)
    first = saved(joint, toys, tmp_path / "joint.pt", 1)
    begun = start.start(Request(toys, "tiny", LEARNED, CPU, init=str(first), head=True))
    assert isinstance(begun, HeadTrainer)
    assert begun.imitated is not None
    x = torch.rand(2, 64, 64, 3)
    network = joint.average
    assert isinstance(network, Icat)
    y = network.g_a(x - 0.5)
    if step == 2:
        y = latents(network, x, torch.full((2,), 2.0))
    torch.testing.assert_close(begun.imitated(x), network.vit.embed(y))


def test_initial_values_survive_resuming_at_once(toys: Path, tmp_path: Path) -> None:
    """Standardisation is measured again on resuming, which changes nothing."""
    path = saved(HeadTrainer(of_tiny(), replace(FIRST, views=1), CPU), toys, tmp_path / "a.pt", 5)
    begun = start.start(Request(toys, "tiny", LEARNED, CPU, init=str(path), head=True))
    begun.load_data(toys, quiet)
    begun.save(tmp_path / "b.pt")
    resumed = start.resume(tmp_path / "b.pt", CPU, False, {"views": 1})
    y = resumed.load_data(toys, quiet)[0].views[:8].float()
    torch.testing.assert_close(resumed.network.eval()(y), begun.network.eval()(y))


def test_least_squares_find_a_linear_relation() -> None:
    torch.manual_seed(0)
    wanted, layer, other = torch.nn.Linear(5, 3), torch.nn.Linear(5, 3), torch.nn.Linear(5, 3)
    given = [torch.randn(7, 2, 5) for _ in range(20)]
    assert stitch(layer, [(x, wanted(x)) for x in given]) == pytest.approx(1, abs=1e-3)
    torch.testing.assert_close(layer.weight, wanted.weight, atol=5e-3, rtol=0)
    noisy = [(x, wanted(x) + other(x).std() * torch.randn(7, 2, 3)) for x in given]
    assert 0.2 < stitch(layer, noisy) < 0.9


def test_a_classifier_of_unknown_latents_cannot_begin_a_run(toys: Path, tmp_path: Path) -> None:
    path = saved(HeadTrainer(of_tiny(), FIRST, CPU), toys, tmp_path / "a.pt", 1)
    state = checkpoint.load(path)
    state["config"]["fingerprint"] = "12345678"
    checkpoint.save(path, state)
    with pytest.raises(BadInputError, match="tiny, which are not installed"):
        start.start(Request(toys, "tiny", LEARNED, CPU, init=str(path), head=True))
