"""The trainer of codecs: exact resumption, loss, schedule, checkpoints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support import CPU
from support import SMALL as CONFIG
from support import SMALL_RUN as OPTIONS

from ticodec.errors import BadInputError, UsageError
from ticodec.models.codec_network import lambda_at
from ticodec.models.config import PAPER_LAMBDAS
from ticodec.models.tic import Output
from ticodec.training import checkpoint
from ticodec.training.codec_trainer import Trainer
from ticodec.training.losses import rate_distortion
from ticodec.training.options import OPTIMIZERS, TrainOptions
from ticodec.training.photo_trainer import PhotoData


@pytest.mark.usefixtures("bf16")
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resuming_is_exact(optimizer: str, data: PhotoData, tmp_path: Path) -> None:
    options = replace(OPTIONS, optimizer=optimizer)
    straight = Trainer(CONFIG, options, CPU)
    for _ in range(6):
        straight.train_step(data)
    first = Trainer(CONFIG, options, CPU)
    for _ in range(3):
        first.train_step(data)
    first.save(tmp_path / "trunk.pt")
    torch.rand(100)  # resuming must not depend on other random draws
    second = Trainer.resume(tmp_path / "trunk.pt", CPU)
    for _ in range(3):
        second.train_step(data)
    assert second.step == straight.step == 6
    for a, b in [(straight.network, second.network), (straight.average, second.average)]:
        for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
            assert torch.equal(x, y), name


def test_balance_divides_the_loss_of_a_high_quality(data: PhotoData) -> None:
    trainer = Trainer(CONFIG, OPTIONS, CPU)
    x = data.photos.crops(2, 64, trainer.sampler)
    level = torch.tensor([0.0, 7.0])
    output = trainer.network(x, level)
    lambdas = torch.tensor(PAPER_LAMBDAS)
    each = [
        rate_distortion(
            Output(*(part[i : i + 1] for part in output)),
            x[i : i + 1],
            level[i : i + 1],
            lambdas,
            0,
        ).loss
        for i in (0, 1)
    ]
    both = rate_distortion(output, x, level, lambdas, 0.5).loss
    wanted = sum(loss / (130 * lambdas[q]) ** 0.5 for loss, q in zip(each, (0, 7), strict=True))
    torch.testing.assert_close(both, wanted / 2)


def test_every_checkpoint_has_the_whole_history(data: PhotoData, tmp_path: Path) -> None:
    trainer = Trainer(CONFIG, OPTIONS, CPU)
    trainer.begin_run({"device": "first"})
    trainer.train_step(data)
    trainer.save(tmp_path / "trunk.pt")  # in the middle of a run
    resumed = Trainer.resume(tmp_path / "trunk.pt", CPU)
    resumed.begin_run({"device": "second"})
    resumed.train_step(data)
    resumed.train_step(data)
    told = [(r["device"], r["crops"]) for r in resumed.record()]
    assert told == [("first", 2), ("second", 4)]
    assert sum(r["crops"] for r in resumed.record()) == resumed.crops


@pytest.mark.parametrize(
    "bad",
    [
        {"crop": 100},
        {"crop": 0},
        {"batch": 0},
        {"lr": -1.0},
        {"quality_range": (0, 12)},
        {"optimizer": "sgd"},
        {"balance": 2.0},
        {"shrink": 0.5},
    ],
)
def test_impossible_options_are_refused(bad: dict) -> None:
    with pytest.raises(UsageError):
        TrainOptions(**bad)


def test_training_lowers_the_loss(data: PhotoData) -> None:
    # Train at one quality, because the losses of different qualities differ too much.
    options = TrainOptions(crop=64, batch=4, lr=3e-3, warmup=5, quality_range=(4, 4))
    trainer = Trainer(CONFIG, options, CPU)
    losses = [float(trainer.train_step(data).loss.detach()) for _ in range(40)]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])


def test_schedule_warms_up_stays_and_anneals() -> None:
    trainer = Trainer(CONFIG, OPTIONS, CPU)
    assert trainer.learning_rate() == pytest.approx(1e-3 / 5)
    trainer.step = 1000
    assert trainer.learning_rate() == pytest.approx(1e-3)
    assert trainer.learning_rate(0.75) == pytest.approx(0.25e-3)


def test_levels_stay_in_the_quality_range() -> None:
    trainer = Trainer(CONFIG, TrainOptions(quality_range=(3, 5)), CPU)
    levels = trainer.draw_levels(500, 8)
    assert 2 <= levels.min() < 2.1
    assert 3.9 < levels.max() <= 4


def test_lambda_is_log_linear() -> None:
    got = lambda_at(torch.tensor([0.0, 0.5, 7.0]), torch.tensor(PAPER_LAMBDAS))
    middle = (PAPER_LAMBDAS[0] * PAPER_LAMBDAS[1]) ** 0.5
    torch.testing.assert_close(got, torch.tensor([PAPER_LAMBDAS[0], middle, PAPER_LAMBDAS[7]]))
    torch.testing.assert_close(
        lambda_at(torch.zeros(1), torch.tensor([0.02])), torch.tensor([0.02])
    )


def test_files_that_are_not_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    with pytest.raises(BadInputError, match="no such checkpoint"):
        checkpoint.load(path)
    path.write_bytes(b"garbage")
    with pytest.raises(BadInputError, match="not a checkpoint"):
        checkpoint.load(path)
    torch.save({"weights": 1}, path)
    with pytest.raises(BadInputError, match="not a checkpoint of this version"):
        checkpoint.load(path)


@pytest.mark.filterwarnings("ignore:.*lru_cache")
def test_a_training_pass_compiles_as_one_graph(data: PhotoData) -> None:
    """So torch.compile on a GPU can compile it without breaks."""
    # One block only: tracing a layer takes seconds, and the other layers are of the same kind.
    trainer = Trainer(replace(CONFIG, depths=(0, 0, 2), hyper_depths=(0, 0)), OPTIONS, CPU)
    x, level = data.photos.crops(2, 64, trainer.sampler), trainer.draw_levels(2, 8)
    compiled = torch.compile(trainer.forward, fullgraph=True, backend="aot_eager")
    gradients = []
    for run in (trainer.forward, compiled):
        torch.manual_seed(0)
        trainer.optimizer.zero_grad()
        run(x, level).loss.backward()
        gradients.append({k: p.grad for k, p in trainer.network.named_parameters()})
    for name, wanted in gradients[0].items():
        assert (gradients[1][name] - wanted).norm() <= 0.02 * wanted.norm(), name
