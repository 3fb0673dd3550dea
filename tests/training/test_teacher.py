"""Learning from the answers of another classifier (the teacher)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from support import CPU
from torch.nn.functional import one_hot
from toys import FIRST, ICAT, PIXELS, SECOND, VIT, of_tiny, quiet, same, saved

from ticodec.classifier import load_pixel_classifier
from ticodec.codec import Codec
from ticodec.errors import BadInputError
from ticodec.training import checkpoint, start
from ticodec.training.encoded_views import encoded
from ticodec.training.export.weights_file import export_head
from ticodec.training.float_latents import latents, of_pixels
from ticodec.training.halving import half_size
from ticodec.training.head_trainer import HeadTrainer
from ticodec.training.joint_trainer import JointTrainer
from ticodec.training.loop import run
from ticodec.training.schedule import Limits


@pytest.fixture
def teacher(toys: Path, tmp_path: Path) -> Path:
    """The checkpoint of a classifier of pixels whose answers are not all the same."""
    return saved(HeadTrainer(PIXELS, replace(FIRST, batch=8), CPU), toys, tmp_path / "vit.pt", 20)


@pytest.mark.usefixtures("bf16")
def test_answers_are_half_of_the_targets(toys: Path, teacher: Path, tmp_path: Path) -> None:
    """They are the answers of the exported teacher for the same crops, from which a head learns."""
    options = replace(FIRST, views=1, augment="none", teacher=str(teacher))
    trainer = HeadTrainer(of_tiny(), options, CPU)
    data, _ = trainer.load_data(toys, quiet)
    assert data.targets.shape == (21, 3)
    torch.testing.assert_close(data.targets.float().sum(1), torch.ones(21), atol=2e-3, rtol=0)
    path, _, _ = export_head([teacher], tmp_path / "store")
    vit = load_pixel_classifier(path, CPU).vit.float()
    order = torch.randperm(21, generator=torch.Generator().manual_seed(FIRST.seed + 1))
    pick = data.images.training[order]
    x, targets = data.images.augmented(pick, 64, torch.Generator(), trainer.augmentation)
    with torch.no_grad():
        answers = vit(of_pixels(x)).softmax(1)
    assert answers.std(0).min() > 0.01
    torch.testing.assert_close(data.targets.float(), (targets + answers) / 2, atol=0.01, rtol=0)
    _, seen = trainer.batch(data)
    assert all((data.targets.float() == each).all(1).any() for each in seen)


def test_a_teacher_answers_for_every_fresh_batch(bf16: bool, toys: Path, teacher: Path) -> None:
    plain, taught = (
        HeadTrainer(PIXELS, replace(FIRST, augment="full", batch=8, teacher=each), CPU)
        for each in ("", str(teacher))
    )
    (x, labels), (same_x, targets) = (t.batch(t.load_data(toys, quiet)[0]) for t in (plain, taught))
    assert torch.equal(x, same_x)  # the mixed images are the same
    taught.average.load_state_dict(checkpoint.load(teacher)["average"])
    with torch.no_grad():
        answers = taught.average.eval()(x).softmax(1)
    close = {"atol": 2e-3, "rtol": 0.0} if bf16 else {}  # the teacher runs in the type of training
    torch.testing.assert_close(targets, (labels + answers) / 2, **close)


def test_the_teacher_reads_enlarged_images_at_their_size(toys: Path, teacher: Path) -> None:
    options = replace(FIRST, views=1, enlarge=4, augment="none", teacher=str(teacher))
    trainer = HeadTrainer(of_tiny(), options, CPU)
    data, _ = trainer.load_data(toys, quiet)
    pick, augmentation = data.images.training[:2], trainer.augmentation
    _, found = encoded(trainer, data.images, pick, 4, torch.Generator(), augmentation)
    x, targets = data.images.augmented(pick, 256, torch.Generator(), augmentation)
    wanted = trainer.taught(half_size(half_size(x)), targets)
    torch.testing.assert_close(found, wanted)
    larger = trainer.taught(x, targets)
    assert (larger - wanted).abs().max() > 1e-4  # the difference would be noticed


def test_a_teacher_does_not_change_random_numbers(toys: Path, teacher: Path) -> None:
    made = []
    for each in ("", str(teacher)):
        trainer = HeadTrainer(PIXELS, replace(FIRST, teacher=each), CPU)
        made.append((trainer.network, torch.rand(3)))
    (plain, drawn), (taught, drawn_too) = made
    assert same(plain, taught)
    assert torch.equal(drawn, drawn_too)


@pytest.mark.parametrize("step", [1, 2])
def test_a_joint_model_teaches_by_its_latents(
    step: int, joint: Codec, toys: Path, tmp_path: Path
) -> None:
    model = JointTrainer(ICAT, FIRST if step == 1 else SECOND, CPU)
    path = saved(model, toys, tmp_path / "joint.pt", 1)
    trainer = HeadTrainer(of_tiny(), replace(FIRST, teacher=str(path)), CPU)
    network = model.average.eval()
    x = torch.rand(2, 64, 64, 3)
    with torch.no_grad():
        if step == 1:
            y = network.g_a(x - 0.5)
        else:
            y = latents(network, x, torch.full((2,), ICAT.levels - 1.0))
        answers = network.vit(y).softmax(1)
    assert trainer.teacher is not None
    targets = one_hot(torch.tensor([0, 2]), 3).float()
    torch.testing.assert_close(trainer.teacher.taught(x, targets), (targets + answers) / 2)


def test_a_resumed_run_keeps_its_teacher(toys: Path, teacher: Path, tmp_path: Path) -> None:
    trainer = HeadTrainer(PIXELS, replace(FIRST, teacher=str(teacher)), CPU)
    path = saved(trainer, toys, tmp_path / "student.pt")
    again = start.resume(path, CPU, False, {})
    assert isinstance(again, HeadTrainer)
    assert again.teacher is not None
    assert trainer.teacher is not None
    assert same(again.teacher.vit, trainer.teacher.vit)
    without = start.resume(path, CPU, False, {"teacher": ""})
    assert isinstance(without, HeadTrainer)
    assert without.teacher is None


def test_the_history_records_a_teacher(toys: Path, teacher: Path, tmp_path: Path) -> None:
    for given in ("", str(teacher)):
        trainer = HeadTrainer(PIXELS, replace(FIRST, teacher=given), CPU)
        made = run(trainer, toys, tmp_path / "run", Limits(max_steps=1), Console(quiet=True))
        (told,) = checkpoint.load(made)["history"]
        assert told.get("teacher", "") == given
        assert ("teacher" in told) == bool(given)


def test_damaged_teachers_are_refused(teacher: Path, tmp_path: Path) -> None:
    def refused(words: str) -> None:
        path = tmp_path / "damaged.pt"
        checkpoint.save(path, state)
        with pytest.raises(BadInputError, match=f"(?s)^`teacher` {path}: .*{words}"):
            HeadTrainer(PIXELS, replace(FIRST, teacher=str(path)), CPU)

    state = checkpoint.load(teacher)
    del state["average"]["head.bias"]
    refused("Missing key")
    state = checkpoint.load(teacher)
    state["average"]["head.bias"][1] = torch.nan
    refused("not finite")
    state = checkpoint.load(teacher)
    state["config"]["channels"] = 100
    state["average"]["embed.weight"] = torch.zeros(VIT.C, 100)
    refused("100 channels, not 768")
    state["config"]["vit"]["L"] = 10**9
    refused("1000000000 blocks")
    state["average"] = []
    refused("not a classifier")
