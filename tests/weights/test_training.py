"""The trainer: exact resumption, skipped steps, schedule, data, and the commands around it."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support import make_pixels

import ticodec
from ticodec import weights
from ticodec.codec import Codec
from ticodec.errors import BadInputError, TicodecError, UsageError
from ticodec.images import list_images
from ticodec.models.config import PAPER_LAMBDAS, ModelConfig
from ticodec.models.network import Output
from ticodec.weights.training import checkpoint
from ticodec.weights.training.data import Photos, split
from ticodec.weights.training.export import export
from ticodec.weights.training.loss import lambda_at, rate_distortion
from ticodec.weights.training.options import OPTIMIZERS, TrainOptions
from ticodec.weights.training.trainer import Trainer

CPU = torch.device("cpu")
CONFIG = ModelConfig("tic-lite", N=16, M=16, depths=(0, 2, 2), activation="none", mlp_ratio=2)
OPTIONS = TrainOptions(crop=64, batch=2, lr=1e-3, warmup=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six photos, one of them too small, and one file that is no image."""
    folder = tmp_path_factory.mktemp("photos")
    for i in range(5):
        Image.fromarray(make_pixels(260 + i, 270, i)).save(folder / f"{i}.png")
    Image.fromarray(make_pixels(30, 30)).save(folder / "small.png")
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def photos(folder: Path) -> Photos:
    return Photos(list_images(folder), 64, CPU)


def test_small_and_broken_images_are_left_out(photos: Photos) -> None:
    assert (len(photos), photos.left_out) == (5, 2)


def test_crops_are_pieces_of_the_photos(photos: Photos, folder: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    originals = [np.asarray(Image.open(p)) for p in sorted(folder.glob("?.png"))]
    pieces = set()
    for original in originals:
        for y in range(original.shape[0] - 63):
            for x in range(original.shape[1] - 63):
                pieces.add((original[y, x : x + 64].tobytes(), original[y + 63, x].tobytes()))
    mirrored = 0
    for crop in photos.crops(8, 64, generator):
        pixels = (crop * 255).round().byte().numpy()
        plain = (pixels[0].tobytes(), pixels[63, 0].tobytes()) in pieces
        turned = pixels[:, ::-1]
        assert plain or (turned[0].tobytes(), turned[63, 0].tobytes()) in pieces
        mirrored += not plain
    assert 0 < mirrored < 8


def test_every_50th_image_is_held_out() -> None:
    paths = [Path(f"{i:03}.png") for i in range(101)]
    training, held = split(paths)
    assert held == [paths[0], paths[50], paths[100]]
    assert not set(training) & set(held)


def test_resuming_is_exact(photos: Photos, tmp_path: Path) -> None:
    straight = Trainer(CONFIG, OPTIONS, CPU)
    for _ in range(6):
        straight.train_step(photos)
    first = Trainer(CONFIG, OPTIONS, CPU)
    for _ in range(3):
        first.train_step(photos)
    first.save(tmp_path / "trunk.pt")
    torch.rand(100)  # whatever happens in between
    second = Trainer.resume(tmp_path / "trunk.pt", CPU)
    for _ in range(3):
        second.train_step(photos)
    assert second.step == straight.step == 6
    for a, b in [(straight.network, second.network), (straight.average, second.average)]:
        for (name, x), y in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
            assert torch.equal(x, y), name


def test_balance_divides_the_loss_of_a_high_quality(photos: Photos) -> None:
    trainer = Trainer(CONFIG, OPTIONS, CPU)
    x = photos.crops(2, 64, trainer.sampler)
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


def test_shrunk_crops_are_shrunk_pieces(photos: Photos) -> None:
    crops = photos.crops(3, 64, torch.Generator().manual_seed(2), shrink=4.0)
    assert crops.shape == (3, 64, 64, 3)
    assert crops.min() >= 0
    assert crops.max() <= 1
    assert crops.is_contiguous()
    generator = torch.Generator().manual_seed(2)
    factor = 4.0 ** float(torch.rand(1, generator=generator))
    assert factor > 1.5  # so that the crops are not what they would be without shrinking
    whole = photos.crops(3, round(64 * factor), generator)
    wanted = torch.nn.functional.interpolate(
        whole.permute(0, 3, 1, 2), (64, 64), mode="bicubic", antialias=True
    )
    torch.testing.assert_close(crops, wanted.permute(0, 2, 3, 1).clamp(0, 1))


def test_pieces_larger_than_every_photo_are_cut_down(photos: Photos) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):  # 192 · 4 is far more than the photos have
        assert photos.crops(2, 192, generator, shrink=4.0).shape == (2, 192, 192, 3)


def test_steps_that_are_not_finite_are_skipped_and_counted(photos: Photos) -> None:
    trainer = Trainer(CONFIG, OPTIONS, CPU)
    trainer.train_step(photos)
    before = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    good = trainer.loss
    trainer.loss = lambda x, level: good(x * float("nan"), level)
    trainer.train_step(photos)
    assert (int(trainer.skipped), trainer.step) == (1, 2)
    assert all(torch.equal(v, before[k]) for k, v in trainer.network.state_dict().items())
    trainer.loss = good
    trainer.train_step(photos)
    assert int(trainer.skipped) == 1
    assert any(not torch.equal(v, before[k]) for k, v in trainer.network.state_dict().items())


def test_a_spike_of_the_gradient_is_skipped_and_does_not_hide_later_ones() -> None:
    trainer = Trainer(CONFIG, OPTIONS, CPU)
    trainer.step = 1000
    trainer.typical.fill_(2.0)
    sane = lambda norm: bool(trainer.is_sane(torch.tensor(1.0 + norm), torch.tensor(norm)))  # noqa: E731
    assert sane(3.0)
    before = float(trainer.typical)
    assert not sane(100.0)
    after = float(trainer.typical)
    assert before < after < 1.1 * before
    assert not sane(float("nan"))
    assert float(trainer.typical) == after
    for _ in range(300):  # a new normal is accepted in time
        sane(30.0)
    assert sane(30.0)


def test_muon_goes_on_without_a_gradient_that_is_not_finite(photos: Photos) -> None:
    trainer = Trainer(CONFIG, replace(OPTIONS, optimizer="muon"), CPU)
    for _ in range(3):
        trainer.train_step(photos)
    good = trainer.loss
    trainer.loss = lambda x, level: good(x * float("nan"), level)
    trainer.train_step(photos)
    trainer.loss = good
    trainer.train_step(photos)
    assert int(trainer.skipped) == 1
    assert all(v.isfinite().all() for v in trainer.network.state_dict().values())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_optimizer_takes_every_parameter_once(optimizer: str) -> None:
    trainer = Trainer(CONFIG, replace(OPTIONS, optimizer=optimizer), CPU)
    taken = [
        id(p)
        for part in trainer.optimizer.parts
        for group in part.param_groups
        for p in group["params"]
    ]
    assert sorted(taken) == sorted(id(p) for p in trainer.network.parameters())
    assert len(trainer.optimizer.parts) == (2 if optimizer == "muon" else 1)


def test_every_checkpoint_tells_the_whole_history(photos: Photos, tmp_path: Path) -> None:
    trainer = Trainer(CONFIG, OPTIONS, CPU)
    trainer.begin_run({"device": "first"})
    trainer.train_step(photos)
    trainer.save(tmp_path / "trunk.pt")  # in the middle of a run
    resumed = Trainer.resume(tmp_path / "trunk.pt", CPU)
    resumed.begin_run({"device": "second"})
    resumed.train_step(photos)
    resumed.train_step(photos)
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


def test_a_failed_export_leaves_the_installed_weights_alone(tmp_path: Path) -> None:
    trainer = Trainer(CONFIG, OPTIONS, CPU)
    trainer.calibration = torch.from_numpy(make_pixels(128, 128))[None]
    trainer.average.load_state_dict(trainer.network.state_dict())
    trainer.save(tmp_path / "a.pt")
    store = tmp_path / "store"
    export([tmp_path / "a.pt"], store)
    before = {p.name: p.read_bytes() for p in store.iterdir()}
    torch.nn.init.constant_(trainer.average.head.conv2.weight, float("nan"))
    trainer.save(tmp_path / "nan.pt")
    with pytest.raises(TicodecError, match="cannot export"):
        export([tmp_path / "nan.pt"], store)
    (store / "manifest.json").write_text("{")
    with pytest.raises(BadInputError, match="damaged manifest"):
        export([tmp_path / "a.pt"], store)
    (store / "manifest.json").write_bytes(before["manifest.json"])
    assert {p.name: p.read_bytes() for p in store.iterdir()} == before


def test_several_checkpoints_are_averaged(photos: Photos, tmp_path: Path) -> None:
    trunk = Trainer(CONFIG, OPTIONS, CPU)
    trunk.calibration = torch.from_numpy(make_pixels(128, 128))[None]
    trunk.begin_run({"device": "trunk", "lr": 1e-3, "crop": 64, "batch": 2})
    trunk.train_step(photos)
    trunk.save(tmp_path / "trunk.pt")
    for seed in (1, 2):
        trainer = Trainer.resume(tmp_path / "trunk.pt", CPU)
        trainer.begin_run({"device": f"seed {seed}", "lr": 1e-3, "crop": 64, "batch": 2})
        torch.manual_seed(seed)
        for _ in range(seed):
            trainer.train_step(photos)
        trainer.save(tmp_path / f"{seed}.pt")
    entry = export([tmp_path / "1.pt", tmp_path / "2.pt"], tmp_path / "store")
    crops = [(run["device"], run["crops"]) for run in entry.history]
    assert crops == [("trunk", 2), ("seed 1", 2), ("seed 2", 4)]
    assert entry.trained.startswith("8 crops")
    _, tensors = weights.read(entry)
    one, two = (checkpoint.load(tmp_path / f"{seed}.pt")["average"] for seed in (1, 2))
    for name, value in one.items():
        assert torch.equal(tensors[f"float.{name}"], ((value + two[name]) / 2).half()), name
    other = Trainer(replace(CONFIG, N=32), OPTIONS, CPU)
    other.save(tmp_path / "other.pt")
    with pytest.raises(UsageError, match="different networks"):
        export([tmp_path / "1.pt", tmp_path / "other.pt"], tmp_path / "store")


def test_weights_trained_for_some_qualities_refuse_the_others(tmp_path: Path) -> None:
    trainer = Trainer(CONFIG, TrainOptions(crop=64, quality_range=(5, 6)), CPU)
    trainer.calibration = torch.from_numpy(make_pixels(128, 128))[None]
    trainer.save(tmp_path / "a.pt")
    codec = Codec(export([tmp_path / "a.pt"], tmp_path / "store"), "cpu")
    with pytest.raises(UsageError, match="quality must be from 5 to 6, not 4"):
        codec.encode(make_pixels(20, 20), 4)
    assert ticodec.info(codec.encode(make_pixels(20, 20)))["quality"] == 5


def test_training_lowers_the_loss(photos: Photos) -> None:
    trainer = Trainer(CONFIG, TrainOptions(crop=64, batch=4, lr=3e-3, warmup=5), CPU)
    losses = [float(trainer.train_step(photos).loss.detach()) for _ in range(60)]
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])


def test_schedule_warms_up_stays_and_anneals() -> None:
    trainer = Trainer(CONFIG, OPTIONS, CPU)
    assert trainer.learning_rate() == pytest.approx(1e-3 / 5)
    trainer.step = 1000
    assert trainer.learning_rate() == pytest.approx(1e-3)
    assert trainer.learning_rate(0.75) == pytest.approx(0.25e-3)


def test_levels_stay_in_the_quality_range() -> None:
    trainer = Trainer(CONFIG, TrainOptions(quality_range=(3, 5)), CPU)
    levels = trainer.draw_levels(500)
    assert 2 <= levels.min() < 2.1
    assert 3.9 < levels.max() <= 4


def test_lambda_is_log_linear() -> None:
    got = lambda_at(torch.tensor([0.0, 0.5, 7.0]), torch.tensor(PAPER_LAMBDAS))
    middle = (PAPER_LAMBDAS[0] * PAPER_LAMBDAS[1]) ** 0.5
    torch.testing.assert_close(got, torch.tensor([PAPER_LAMBDAS[0], middle, PAPER_LAMBDAS[7]]))
    torch.testing.assert_close(
        lambda_at(torch.zeros(1), torch.tensor([0.02])), torch.tensor([0.02])
    )


def test_checkpoints_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    with pytest.raises(BadInputError, match="no such checkpoint"):
        checkpoint.load(path)
    path.write_bytes(b"garbage")
    with pytest.raises(BadInputError, match="not a checkpoint"):
        checkpoint.load(path)
    torch.save({"weights": 1}, path)
    with pytest.raises(BadInputError, match="not a checkpoint of this version"):
        checkpoint.load(path)


def test_folders_without_images(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no images in it"):
        list_images(tmp_path)
    with pytest.raises(BadInputError, match="not a folder"):
        list_images(tmp_path / "no")


def test_train_resume_anneal_export_encode(folder: Path, tmp_path: Path, monkeypatch) -> None:
    """The whole chain by the commands, on a small preset, ending in a file that decodes."""
    import sys

    from ticodec.cli import app
    from ticodec.models import config

    monkeypatch.setitem(config.PRESETS, "tic-lite", CONFIG)

    def ticodec(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["ticodec", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            app.main()
        assert not done.value.code

    run = tmp_path / "run"
    common = ("--data", folder, "--out", run, "--crop", 64, "--batch", 2, "--device", "cpu")
    ticodec("train", "--model", "tic-lite", *common, "--max-steps", 55, "--lr", 1e-3)
    ticodec("train", *common, "--resume", run / "trunk.pt", "--max-steps", 60,
            "--anneal-minutes", 0.02)  # fmt: skip
    trunk, annealed = (checkpoint.load(run / f"{n}.pt") for n in ("trunk", "annealed"))
    assert trunk["step"] == 60
    assert annealed["step"] > 60
    assert [bool(r.get("annealed")) for r in annealed["history"]] == [False, False, True]
    rows = list(csv.DictReader((run / "log.csv").open()))
    assert int(rows[0]["step"]) == 50
    assert float(rows[0]["loss"]) > 0
    assert (run / "validation.csv").exists()

    store = tmp_path / "store"
    ticodec("export", run / "annealed.pt", "--out", store, "--name", "mine")
    manifest = json.loads((store / "manifest.json").read_text())
    assert manifest["default"] == "mine"
    card = (store / "mine.md").read_text()
    assert "0.001 falling to" in card
    assert manifest["models"]["mine"]["sha256"] in card
    monkeypatch.setenv("TICODEC_WEIGHTS", str(store))
    photo = folder / "0.png"
    ticodec("encode", photo, tmp_path / "a.tic", "-m", "mine", "-q", 6)
    ticodec("decode", tmp_path / "a.tic", tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").size == Image.open(photo).size

    ticodec("train", *common, "--init", "mine", "--max-steps", 2, "--warmup", 1)
    went_on = checkpoint.load(run / "trunk.pt")
    assert went_on["config"]["N"] == 16
    assert went_on["history"][:-1] == manifest["models"]["mine"]["history"]
    assert went_on["history"][-1]["crops"] == 4


@pytest.mark.filterwarnings("ignore:.*lru_cache")
def test_a_training_pass_compiles_as_one_graph(photos: Photos) -> None:
    """So that torch.compile on a GPU has nothing to fall back from."""
    trainer = Trainer(CONFIG, OPTIONS, CPU)
    x, level = photos.crops(2, 64, trainer.sampler), trainer.draw_levels(2)
    losses = []
    for run in (
        trainer.forward,
        torch.compile(trainer.forward, fullgraph=True, backend="eager"),
    ):
        torch.manual_seed(0)
        trainer.optimizer.zero_grad()
        loss = run(x, level)
        loss.loss.backward()
        losses.append([loss.loss.detach(), trainer.network.g_a[0].conv.weight.grad])
    torch.testing.assert_close(losses[0], losses[1], rtol=0.02, atol=0.02)
