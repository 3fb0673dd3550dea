"""Training of the joint model: its two steps, their loss, and the weights that each changes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import CPU
from torch.nn.functional import log_softmax
from toys import FIRST, ICAT, LABELS, RUN, SECOND, parameters, quiet, same, saved, write_toys

from ticodec.errors import BadInputError, UsageError
from ticodec.models.families import build
from ticodec.models.icat import JointOutput
from ticodec.models.prior import gaussian_likelihood
from ticodec.training import joint_trainer, start
from ticodec.training.data.class_folder import ClassFolder, load_classes
from ticodec.training.export.weights_file import export
from ticodec.training.joint_trainer import JointTrainer
from ticodec.training.losses import joint as joint_loss
from ticodec.training.options import OPTIMIZERS
from ticodec.training.request import Request


@pytest.fixture
def data(toys: Path) -> ClassFolder:
    return load_classes(toys, LABELS, 64, CPU, quiet)[0]


@pytest.fixture
def first(data: ClassFolder, toys: Path, tmp_path: Path) -> Path:
    """The checkpoint of a short first step."""
    trainer = JointTrainer(ICAT, FIRST, CPU)
    trainer.load_data(toys, quiet)
    trainer.begin_run({**RUN, "step": 1})
    for _ in range(4):
        trainer.train_step(data)
    trainer.save(tmp_path / "first.pt")
    return tmp_path / "first.pt"


def second(toys: Path, first: Path, **changes: object) -> JointTrainer:
    """A trainer of the second step with its data loaded."""
    wanted = {"crop": 64, "batch": 4, "lr": 2e-3, "warmup": 2, "smallest": 0.5} | changes
    trainer = start.start(Request(toys, None, wanted, CPU, init=str(first)))
    assert isinstance(trainer, JointTrainer)
    trainer.load_data(toys, quiet)
    return trainer


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_first_step_learns_and_does_not_train_rates(optimizer: str, data: ClassFolder) -> None:
    trainer = JointTrainer(ICAT, replace(FIRST, optimizer=optimizer), CPU)
    before = parameters(trainer.network)
    found = [trainer.train_step(data) for _ in range(50)]
    losses = [float(x.loss.detach()) for x in found]
    assert np.mean(losses[-8:]) < 0.85 * np.mean(losses[:8])
    assert all(float(x.bpp) == 0 for x in found)
    after = parameters(trainer.network)
    still = {name for name in before if torch.equal(before[name], after[name])}
    of_rates = {name for name in before if name.split(".")[0] in ("h_a", "h_s", "prior", "gains")}
    assert still == of_rates
    assert int(trainer.skipped) == 0


def test_the_first_step_does_not_quantise(data: ClassFolder) -> None:
    trainer = JointTrainer(ICAT, replace(FIRST, augment="none"), CPU)
    trainer.network.eval()
    x, targets, level = trainer.batch(data)
    low = trainer.forward(x, targets, level * 0)
    assert trainer.forward(x, targets, level).loss == low.loss
    logits = trainer.network.vit(trainer.network.g_a(x - 0.5))
    mixed = targets * (1 - FIRST.smoothing) + FIRST.smoothing / len(LABELS)
    ce = -(mixed * log_softmax(logits, -1)).sum(1).mean()
    torch.testing.assert_close(low.ce, ce)
    torch.testing.assert_close(low.loss, ce + 0.001 * 255**2 * low.mse)


def test_the_second_step_begins_at_a_suitable_scale_and_lowers_the_rate(
    first: Path, toys: Path, data: ClassFolder
) -> None:
    trainer = second(toys, first)
    x, _ = next(data.centre(64))
    level = torch.full((len(x),), 1.0)
    with torch.no_grad():
        up, down = trainer.network.scaling(level)
        spread = float((trainer.network.g_a(x - 0.5) * up).std())
        assert spread == pytest.approx(joint_trainer.SPREAD, rel=0.1)
        torch.testing.assert_close(up * down, torch.ones_like(up))
        assert torch.equal(trainer.average.scaling(level)[0], up)
    found = [trainer.train_step(data) for _ in range(40)]
    bpp = [float(x.bpp) for x in found]
    assert np.mean(bpp[-8:]) < 0.9 * np.mean(bpp[:4])


def test_gains_are_set_only_when_the_step_before_had_none(
    first: Path, toys: Path, data: ClassFolder, tmp_path: Path
) -> None:
    trainer = second(toys, first)
    trainer.begin_run({**RUN, "step": 2})
    for _ in range(5):
        trainer.train_step(data)
    trainer.save(tmp_path / "second.pt")
    again = JointTrainer.resume(tmp_path / "second.pt", CPU)
    again.load_data(toys, quiet)
    assert same(again.network, trainer.network)
    tuned = second(toys, tmp_path / "second.pt")
    trainer.finish(data)  # fits the halving layer, as a run that begins from it does
    assert same(tuned.network, trainer.average)
    # A first step that begins from these weights learns without gains again.
    back = second(toys, tmp_path / "second.pt", step=1)
    back.begin_run({**RUN, "step": 1})
    back.train_step(data)
    back.save(tmp_path / "back.pt")
    forth = second(toys, tmp_path / "back.pt")
    assert not torch.equal(forth.network.gains.log_up, back.average.gains.log_up)


@pytest.mark.parametrize("balance", [0.0, 0.4])
@pytest.mark.parametrize("ratio", [0.0, 100.0])
def test_the_loss_by_hand(balance: float, ratio: float) -> None:
    torch.manual_seed(0)
    x, x_hat = torch.rand(2, 4, 8, 3), torch.rand(2, 4, 8, 3)
    logits, targets = torch.randn(2, 3), torch.tensor([[0.0, 1, 0], [0.3, 0, 0.7]])
    bits = torch.tensor([64.0, 32]), torch.tensor([8.0, 16]), torch.tensor([48.0, 40])
    output = JointOutput(logits, x_hat, *bits)
    betas = torch.tensor([0.001, 0.006])
    found = joint_loss(output, x, targets, betas, ratio, 0.1, balance)
    wanted = []
    for i, beta in enumerate((0.001, 0.006)):
        target = targets[i].numpy() * 0.9 + 0.1 / 3
        shifted = np.exp(logits[i].numpy())
        ce = -(target * np.log(shifted / shifted.sum())).sum()
        mse = ((x_hat[i] - x[i]).numpy() ** 2).mean()
        bpp = float(output.bits_y[i] + output.bits_z[i]) / 32
        trade = bpp + beta * ratio * ce + beta * 255**2 * mse
        rounded = float(output.rounded[i]) / 32
        wanted.append((trade / (130 * beta) ** balance, ce, bpp, mse, rounded))
    for value, column in zip(found, np.mean(wanted, 0), strict=True):
        assert float(value) == pytest.approx(column, rel=1e-5)
    assert not found.ce.requires_grad


def test_the_second_loss_has_the_rate_of_both_latents(data: ClassFolder) -> None:
    trainer = JointTrainer(ICAT, replace(SECOND, augment="none", quality_range=(2, 2)), CPU)
    network = trainer.network.eval()
    x, targets, level = trainer.batch(data)
    assert torch.equal(level, torch.ones(4))
    torch.manual_seed(7)
    found = trainer.forward(x, targets, level)
    with torch.no_grad():
        up, down = network.scaling(level)
        y = network.g_a(x - 0.5) * up
        z = network.h_a(y)
        scales, means = network.h_s(z.round()).chunk(2, -1)
        torch.manual_seed(7)
        bits = -gaussian_likelihood(y + torch.rand_like(y) - 0.5, means, scales).log2().sum()
        bits -= network.prior.likelihood(z + torch.rand_like(z) - 0.5).log2().sum()
        mse = (network.g_s(network.fused(((y - means).round() + means) * down)) + 0.5 - x).pow(2)
    torch.testing.assert_close(found.bpp, bits / (4 * 64 * 64))
    torch.testing.assert_close(found.mse, mse.mean())
    beta = ICAT.lambdas[1]
    loss = found.bpp + beta * (100 * found.ce + 255**2 * found.mse)
    torch.testing.assert_close(found.loss.detach(), loss / (130 * beta) ** 0.4)


@pytest.mark.usefixtures("bf16")
@pytest.mark.parametrize("options", [FIRST, SECOND], ids=["first", "second"])
def test_resuming_is_exact(options, toys: Path, tmp_path: Path) -> None:
    options = replace(options, augment="full")

    def begun(trainer: JointTrainer, steps: int) -> JointTrainer:
        data, _ = trainer.load_data(toys, quiet)
        trainer.begin_run({"device": "CPU", "step": options.step})
        for _ in range(steps):
            trainer.train_step(data)
        trainer.validate(data)
        return trainer

    straight = JointTrainer(ICAT, options, CPU)
    data, _ = straight.load_data(toys, quiet)
    for _ in range(4):
        straight.train_step(data)
    begun(JointTrainer(ICAT, options, CPU), 2).save(tmp_path / "trunk.pt")
    torch.rand(100)  # resuming must not depend on other random draws
    resumed = begun(start.resume(tmp_path / "trunk.pt", CPU, False, {}), 2)
    assert isinstance(resumed, JointTrainer)
    assert resumed.step == straight.step == 4
    assert same(straight.network, resumed.network)
    assert same(straight.average, resumed.average)


def test_blocks_are_dropped_only_in_training(data: ClassFolder) -> None:
    config = replace(ICAT, vit=replace(ICAT.vit, drop_path=0.9))
    trainer = JointTrainer(config, replace(FIRST, augment="none"), CPU)
    for network in (trainer.network, trainer.average):
        for block in network.vit.blocks:
            torch.nn.init.constant_(block.mlp2.bias, 1.0)  # so that each block has an effect
    batch = trainer.batch(data)
    losses = {float(trainer.forward(*batch).ce) for _ in range(6)}
    assert len(losses) > 1
    assert trainer.validate(data) == trainer.validate(data)
    assert not trainer.average.training
    assert trainer.network.training
    assert len({float(trainer.forward(*batch).ce) for _ in range(6)}) > 1


def test_validation_covers_every_quality_and_changes_nothing(data: ClassFolder) -> None:
    trainer = JointTrainer(ICAT, SECOND, CPU)
    state = torch.get_rng_state()
    rows = trainer.validate(data)
    assert torch.equal(torch.get_rng_state(), state)
    assert [row["quality"] for row in rows] == [1, 2, 3]
    assert [list(row) for row in rows] == [["quality", "top1", "bpp", "psnr", "bpp_rounded"]] * 3
    assert rows[0]["bpp"] < rows[2]["bpp"]
    assert [row["bpp"] for row in JointTrainer(ICAT, FIRST, CPU).validate(data)] == [0]


def test_validation_and_calibration_cover_all_classes(tmp_path: Path, monkeypatch) -> None:
    names = tuple("abcdefghijkl")
    folder = write_toys(tmp_path, 51, names)
    monkeypatch.setattr(joint_trainer, "VALIDATION_IMAGES", 12)
    trainer = JointTrainer(replace(ICAT, labels=names), FIRST, CPU)
    data, line = trainer.load_data(folder, quiet)
    assert data.targets[data.validation].tolist() == list(range(12))
    assert line.startswith("588 images of 12 classes to train on, 24 held out")
    assert 4 <= len(trainer.calibration) <= 8
    reds = trainer.calibration.float().mean((1, 2)).argmax(1)
    assert set(reds.tolist()) == {0, 1, 2}


def test_other_classes_are_refused_when_resuming(first: Path, toys: Path, tmp_path: Path) -> None:
    other = write_toys(tmp_path / "other", 2, ("cat", "dog"))
    trainer = start.resume(first, CPU, False, {})
    with pytest.raises(UsageError, match=r"classes cat, dog, .* blue sea, grass, red: .* `init`"):
        trainer.load_data(other, quiet)
    many = write_toys(tmp_path / "many", 1, tuple(f"c{i:03}" for i in range(300)))
    with pytest.raises(UsageError, match=r"c011 … \(300 in all\), but this network"):
        trainer.load_data(many, quiet)
    lonely = write_toys(tmp_path / "lonely", 1)
    with pytest.raises(BadInputError, match="every class has only one image"):
        trainer.load_data(lonely, quiet)


def test_other_classes_replace_only_the_layer_of_labels(first: Path, tmp_path: Path) -> None:
    own = write_toys(tmp_path / "own", 2, ("cat", "dog"))
    before = start.resume(first, CPU, False, {}).average.state_dict()
    trainer = start.start(Request(own, None, {"crop": 64, "step": 1}, CPU, init=str(first)))
    assert trainer.config.labels == ("cat", "dog")
    after = trainer.network.state_dict()
    assert after["vit.head.weight"].shape == (2, 16)
    kept = {name for name in before if torch.equal(before[name], after[name])}
    assert set(before) - kept == {"vit.head.weight", "vit.head.bias"}
    assert trainer.history[-1]["crops"] == 16


def test_weight_decay_applies_only_to_matrices() -> None:
    """With gradients of zero, matrices shrink and all other parameters stay."""
    for optimizer in OPTIMIZERS:
        options = replace(FIRST, weight_decay=0.5, lr=0.1, warmup=0, optimizer=optimizer)
        trainer = JointTrainer(ICAT, options, CPU)
        for parameter in trainer.network.parameters():
            torch.nn.init.ones_(parameter)
            parameter.grad = torch.zeros_like(parameter)
        trainer.optimizer.lr = 0.1
        trainer.optimizer.step(torch.tensor(True))
        layers = (torch.nn.Linear, torch.nn.Conv2d, torch.nn.ConvTranspose2d)
        decayed = {id(m.weight) for m in trainer.network.modules() if isinstance(m, layers)}
        assert len(decayed) > 30
        for name, value in trainer.network.named_parameters():
            wanted = 0.95 if id(value) in decayed else 1.0
            torch.testing.assert_close(value.data, torch.full_like(value, wanted), msg=name)


def test_the_first_step_is_not_exported(first: Path, toys: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="only step 1: give it as `init` and train `step` 2"):
        export([first], tmp_path / "store")
    assert not (tmp_path / "store").exists()
    trainer = second(toys, first)
    trainer.begin_run({**RUN, "step": 2})
    trainer.save(tmp_path / "second.pt")
    entry = export([tmp_path / "second.pt"], tmp_path / "store")
    assert (entry.name, entry.labels, entry.qualities) == ("icat", 3, (1, 3))
    card = entry.path.with_suffix(".md").read_text()
    assert "3 labels: blue sea, grass, red" in card
    assert "Quality 1 to 3, β = 0.001, 0.003, 0.006." in card
    assert "step 1" in card


def test_positions_have_the_grid_of_the_crops(toys: Path) -> None:
    for crop, grid in ((64, 4), (224, 14)):
        trainer = start.start(Request(toys, "icat-lite", {"crop": crop}, CPU))
        assert trainer.config.vit.grid == grid


def test_one_first_step_can_be_used_for_every_beta(first: Path, toys: Path) -> None:
    """The paper trains a network for each α and β from the same pretrained weights."""
    trainer = start.start(Request(toys, None, {"crop": 64}, CPU, init=str(first), lmbda=0.003))
    assert trainer.config.lambdas == (0.003,)
    assert trainer.network.gains is None
    with pytest.raises(UsageError, match="leave out `activation`: `init` has its own"):
        start.start(Request(toys, None, {"crop": 64}, CPU, init=str(first), activation="gdn"))


def test_aggregation_can_be_left_out_of_weights_that_have_it(toys: Path, tmp_path: Path) -> None:
    """The pictures stay as similar as a linear layer can make them. Nothing else changes.

    Tokens are wider than latents, as in every preset. So they alone do not determine a matrix.
    """
    first = saved(JointTrainer(replace(ICAT, M=8), FIRST, CPU), toys, tmp_path / "first.pt", 4)
    options: dict[str, Any] = {"crop": 64, "step": 1, "augment": "none"}
    whole = start.start(Request(toys, None, options, CPU, init=str(first))).network
    trainer = start.start(Request(toys, None, options, CPU, init=str(first), aggregation=False))
    assert not trainer.config.aggregation
    unfitted = build(trainer.config)
    unfitted.load_state_dict(trainer.network.state_dict())
    data, line = trainer.load_data(toys, quiet)
    part = int(re.search(r"(\d+)% of the aggregated variance", line)[1])
    assert part > 30
    x = torch.cat([x for x, _ in data.centre(64)])
    level = torch.zeros(len(x))
    wanted = whole.eval()(x, level, False)
    largest = max(float(p.abs().max()) for p in whole.g_s.parameters())
    for network in (trainer.network, trainer.average):
        assert max(float(p.abs().max()) for p in network.g_s.parameters()) < 10 * largest
        found = network.eval()(x, level, False)
        torch.testing.assert_close(found.logits, wanted.logits)
        error = (found.x_hat - wanted.x_hat).square().mean()
        assert error < (unfitted.eval()(x, level, False).x_hat - wanted.x_hat).square().mean()
    trainer.train_step(data)
