"""The layer that halves latents of large images to those of smaller ones, and how it is fitted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from support import CPU, make_pixels
from toys import FIRST, ICAT, LEARNED, SECOND, VIT, of_tiny, quiet, same, saved, write_toys

from ticodec import classifier, weights
from ticodec.classifier import Classifier, halved, load_head, read_head
from ticodec.codec import Codec
from ticodec.models.vit import Halving, ViT
from ticodec.training import start
from ticodec.training.export.weights_file import export, export_head
from ticodec.training.halving import fit_halving, half_size
from ticodec.training.head_trainer import HeadTrainer
from ticodec.training.joint_trainer import JointTrainer
from ticodec.training.loop import run
from ticodec.training.request import Request
from ticodec.training.schedule import Limits


def test_blocks_are_two_by_two_and_edges_repeat() -> None:
    y = torch.arange(15.0).reshape(1, 3, 5, 1)
    blocks = Halving(1).blocks(y)
    assert blocks.shape == (1, 2, 3, 4)
    assert blocks[0].tolist() == [
        [[0, 1, 5, 6], [2, 3, 7, 8], [4, 4, 9, 9]],
        [[10, 11, 10, 11], [12, 13, 12, 13], [14, 14, 14, 14]],
    ]


def test_a_linear_relation_is_found_for_channels_of_any_scale() -> None:
    torch.manual_seed(0)
    wanted, found = Halving(3), Halving(3)
    loud = torch.tensor([100.0, 1.0, 0.03])
    wanted.weight.copy_(torch.randn(3, 12) * loud[:, None] / loud.repeat(4))
    wanted.bias.copy_(torch.randn(3) * loud)
    maps = [(torch.randn(4, 6, 8, 3) + 2) * loud for _ in range(20)]
    assert fit_halving(found, [(y, wanted(y)) for y in maps]) == pytest.approx(1, abs=1e-3)
    y = (torch.randn(4, 6, 8, 3) + 2) * loud
    error = (found(y) - wanted(y)).std((0, 1, 2)) / wanted(y).std((0, 1, 2))
    assert error.max() < 0.01


def test_half_the_size_is_the_mean_of_pixels() -> None:
    x = torch.zeros(1, 16, 24, 3)
    x[:, ::2, ::2] = x[:, 1::2, 1::2] = 1  # a chessboard
    small = half_size(x)
    assert small.shape == (1, 8, 12, 3)
    torch.testing.assert_close(small[:, 2:-2, 2:-2], torch.full((1, 4, 8, 3), 0.5))
    assert half_size(x[:, ::2, ::2]).max() <= 1


@pytest.mark.parametrize(
    ("size", "expected"),
    [((4, 4), (4, 4)), ((6, 9), (6, 9)), ((7, 9), (4, 5)), ((12, 12), (6, 6)),
     ((13, 20), (4, 5)), ((250, 188), (8, 6)), ((1, 127), (1, 127)), ((1, 300), (1, 75)),
     ((3, 60), (2, 30)), ((1, 1), (1, 1))],
)  # fmt: skip
def test_large_maps_are_halved_until_they_are_small_enough(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    """With a grid of 4, the short side must be at most 6, and there must be at most 128 latents."""
    found = halved(torch.zeros(1, *size, 2), Halving(2), 4)
    assert found.shape == (1, *expected, 2)


@pytest.fixture(scope="module")
def head(toys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a head after a few steps."""
    folder = tmp_path_factory.mktemp("head")
    trainer = HeadTrainer(of_tiny(), replace(FIRST, views=1, augment="none"), CPU)
    saved(trainer, toys, folder / "a.pt")
    return export_head([folder / "a.pt"], folder)[0]


def test_halved_latents_are_nearly_those_of_smaller_images(head: Path, toys: Path) -> None:
    config, vit = read_head(head, None)
    assert config.halving
    trainer = HeadTrainer(config, FIRST, CPU)
    data, _ = trainer.load_data(toys, quiet)
    x = torch.cat([x for x, _ in data.images.centre(128)])
    level = torch.full((len(x),), 3.0)
    large, small = trainer.read(x, level), trainer.read(half_size(x), level)
    assert vit.halve is not None
    left = (vit.halve(large) - small).square().mean((0, 1, 2))
    among = (large[:, ::2, ::2] - small).square().mean((0, 1, 2))
    strong = small.std((0, 1, 2)) > 0.05
    assert strong.any()
    assert (left[strong] < 0.5 * among[strong]).all()


def test_classify_halves_large_maps(head: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does this in float32, whatever type the Transformer runs in."""
    entry = weights.find("tiny")
    y = torch.randn(16, 14, 16)
    for dtype in (torch.float32, torch.bfloat16):
        found = load_head(entry, head, 16, CPU, dtype)
        assert found.vit.halve is not None
        assert found.vit.halve.weight.dtype == torch.float32
        assert found.vit.embed.weight.dtype == dtype
        small = found.vit.halve(found.vit.halve(y[None]))
        expected = found.vit(small.to(dtype)).float().softmax(1)[0]
        torch.testing.assert_close(found.probabilities(y), expected)
    monkeypatch.setattr(classifier, "LARGE", 4)
    assert found.parts(y[None, :10, :12])[0].shape == (1, 10, 12, 16)


def test_classifiers_without_the_layer_read_interleaved_parts() -> None:
    classifier = Classifier(ViT(8, VIT, 3).eval(), ("a", "b", "c"))
    assert len(classifier.parts(torch.zeros(1, 16, 16, 8))) == 4


def test_the_layer_is_kept_for_own_classes(head: Path, toys: Path, tmp_path: Path) -> None:
    """The layer belongs to the codec. Neither other labels nor more training change it."""
    own = write_toys(tmp_path / "own", 2, ("cat", "dog"))
    begun = start.start(Request(own, "tiny", LEARNED, CPU, init=str(head), head=True))
    assert isinstance(begun, HeadTrainer)
    before = read_head(head, None)[1].state_dict()
    data, line = begun.load_data(own, quiet)
    assert "halved latents" not in line
    begun.train_step(data)
    for name in ("weight", "bias"):
        for network in (begun.network, begun.average):
            assert torch.equal(network.state_dict()[f"halve.{name}"], before[f"halve.{name}"])


def layer(trainer: JointTrainer) -> torch.Tensor:
    """The halving layer of the averaged weights, which equals that of the trained weights."""
    found = trainer.average.get_submodule("vit.halve").weight
    assert torch.equal(found, trainer.network.get_submodule("vit.halve").weight)
    return found.clone()


def test_joint_models_fit_the_layer_to_the_latents_of_files(toys: Path, tmp_path: Path) -> None:
    """They do it when the second step begins, and again when a phase ends, because the encoder has
    changed."""
    first = JointTrainer(ICAT, FIRST, CPU)
    saved(first, toys, tmp_path / "first.pt")
    assert not layer(first).any()
    wanted = {"crop": 64, "batch": 4, "lr": 2e-3, "warmup": 2}
    trainer = start.start(Request(toys, None, wanted, CPU, init=str(tmp_path / "first.pt")))
    assert isinstance(trainer, JointTrainer)
    limits = Limits(max_steps=3, anneal_minutes=0.01)
    done = run(trainer, toys, tmp_path / "run", limits, Console(quiet=True))
    trunk = JointTrainer.resume(tmp_path / "run" / "trunk.pt", CPU)
    for each in (trunk, trainer):
        fitted, random = layer(each), torch.get_rng_state()
        data, line = each.load_data(toys, quiet)
        assert "halved latents" not in line  # resuming does not fit it again
        each.finish(data)
        assert torch.equal(fitted, layer(each))  # so it was fitted to exactly these weights
        assert torch.equal(random, torch.get_rng_state())
    assert not torch.equal(layer(trunk), layer(trainer))

    codec = Codec(export([done], tmp_path / "weights", "own"), "cpu", bf16=True)
    found = codec.classifier().vit
    assert found.halve is not None
    assert found.halve.weight.dtype == torch.float32
    torch.testing.assert_close(found.halve.weight, layer(trainer), rtol=1e-3, atol=1e-4)
    data = codec.encode(make_pixels(200, 250), 2)
    assert codec.classifier().parts(torch.zeros(1, 13, 16, 16))[0].shape == (1, 4, 4, 16)
    assert sum(each.probability for each in codec.classify(data, 3)) == pytest.approx(1, abs=1e-4)


def test_old_joint_weights_get_the_layer_in_a_new_run(toys: Path, tmp_path: Path) -> None:
    old = JointTrainer(replace(ICAT, halving=False), SECOND, CPU)
    saved(old, toys, tmp_path / "old.pt")
    assert not any("halve" in name for name in old.average.state_dict())
    again = JointTrainer.resume(tmp_path / "old.pt", CPU)
    assert not again.config.halving
    assert same(again.average, old.average)
    changes = {"crop": 64, "batch": 4}
    begun = start.start(Request(toys, None, changes, CPU, init=str(tmp_path / "old.pt")))
    assert isinstance(begun, JointTrainer)
    _, line = begun.load_data(toys, quiet)
    assert "halved latents" in line
    assert layer(begun).any()
