"""Exporting checkpoints, and the whole sequence of commands."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from support import CPU, make_pixels
from support import SMALL as CONFIG
from support import SMALL_RUN as OPTIONS

import ticodec
from ticodec import weights
from ticodec.codec import Codec
from ticodec.errors import BadInputError, TicodecError, UsageError
from ticodec.models.config import ModelConfig
from ticodec.training import checkpoint
from ticodec.training.codec_trainer import Trainer
from ticodec.training.export.sources import merged
from ticodec.training.export.weights_file import export
from ticodec.training.options import TrainOptions
from ticodec.training.photo_trainer import PhotoData


def test_a_failed_export_does_not_change_installed_weights(tmp_path: Path) -> None:
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


def test_several_checkpoints_are_averaged(data: PhotoData, tmp_path: Path) -> None:
    trunk = Trainer(CONFIG, OPTIONS, CPU)
    trunk.calibration = torch.from_numpy(make_pixels(128, 128))[None]
    trunk.begin_run({"device": "trunk", "lr": 1e-3, "crop": 64, "batch": 2})
    trunk.train_step(data)
    trunk.save(tmp_path / "trunk.pt")
    for seed in (1, 2):
        trainer = Trainer.resume(tmp_path / "trunk.pt", CPU)
        trainer.begin_run({"device": f"seed {seed}", "lr": 1e-3, "crop": 64, "batch": 2})
        torch.manual_seed(seed)
        for _ in range(seed):
            trainer.train_step(data)
        trainer.save(tmp_path / f"{seed}.pt")
    entry = export([tmp_path / "1.pt", tmp_path / "2.pt"], tmp_path / "store")
    crops = [(run["device"], run["crops"]) for run in entry.history]
    assert crops == [("trunk", 2), ("seed 1", 2), ("seed 2", 4)]
    assert entry.trained.startswith("8 crops")
    _, tensors = weights.read(entry)
    one, two = (checkpoint.load(tmp_path / f"{seed}.pt")["average"] for seed in (1, 2))
    for name, value in one.items():
        assert torch.equal(tensors[f"float.{name}"], ((value + two[name]) / 2).half()), name


@pytest.mark.parametrize(
    ("config", "options", "message"),
    [
        (replace(CONFIG, N=32), OPTIONS, "different networks"),
        (CONFIG, replace(OPTIONS, quality_range=(5, 6)), "different qualities"),
        (CONFIG, OPTIONS, "no training run in common"),
    ],
)
def test_checkpoints_that_cannot_be_averaged(
    config: ModelConfig, options: TrainOptions, message: str, data: PhotoData, tmp_path: Path
) -> None:
    for i, trainer in enumerate([Trainer(CONFIG, OPTIONS, CPU), Trainer(config, options, CPU)]):
        trainer.begin_run({"device": str(i), "lr": 1e-3, "crop": 64, "batch": 2})
        trainer.train_step(data)
        trainer.save(tmp_path / f"{i}.pt")
    with pytest.raises(UsageError, match=message):
        export([tmp_path / "0.pt", tmp_path / "1.pt"], tmp_path / "store")


def test_common_runs_count_once() -> None:
    run = lambda name: {"device": name}  # noqa: E731
    trunk, branch = [run("a")], [run("a"), run("b")]
    histories = [[*trunk, run("c")], [*branch, run("d")], [*branch, run("e")]]
    assert [r["device"] for r in merged(histories)] == ["a", "c", "b", "d", "e"]


def test_weights_trained_for_some_qualities_refuse_the_others(tmp_path: Path) -> None:
    trainer = Trainer(CONFIG, TrainOptions(crop=64, quality_range=(5, 6)), CPU)
    trainer.calibration = torch.from_numpy(make_pixels(128, 128))[None]
    trainer.save(tmp_path / "a.pt")
    codec = Codec(export([tmp_path / "a.pt"], tmp_path / "store"), "cpu")
    with pytest.raises(UsageError, match="quality must be from 5 to 6, not 4"):
        codec.encode(make_pixels(20, 20), 4)
    assert ticodec.info(codec.encode(make_pixels(20, 20)))["quality"] == 5


def test_train_resume_anneal_export_encode(folder: Path, tmp_path: Path, monkeypatch, run) -> None:
    """The whole sequence of commands with a small preset gives a file that decodes."""
    from ticodec.models import families

    monkeypatch.setitem(families.PRESETS, "tic-lite", CONFIG)

    def ticodec(*arguments: object) -> None:
        done = run(*arguments)
        assert done.code == 0, done.err

    out = tmp_path / "run"
    data = ("--data", folder, "--crop", 64, "--batch", 2, "--device", "cpu")
    common = (*data, "--out", out)
    ticodec("train", "--model", "tic-lite", *common, "--max-steps", 55, "--lr", 1e-3)
    ticodec("train", *data, "--resume", out / "trunk.pt", "--max-steps", 60,
            "--anneal-minutes", 0.02)  # fmt: skip
    trunk, annealed = (checkpoint.load(out / f"{n}.pt") for n in ("trunk", "annealed"))
    assert trunk["step"] == 60
    assert annealed["step"] > 60
    assert [bool(r.get("annealed")) for r in annealed["history"]] == [False, False, True]
    rows = list(csv.DictReader((out / "log.csv").open()))
    assert int(rows[0]["step"]) == 50
    assert float(rows[0]["loss"]) > 0
    assert (out / "validation.csv").exists()

    store = tmp_path / "store"
    ticodec("export", out / "annealed.pt", "--out", store, "--name", "mine")
    manifest = json.loads((store / "manifest.json").read_text())
    fields = manifest["models"]["mine"]
    card = (store / fields["file"]).with_suffix(".md").read_text()
    assert "0.001 falling to" in card
    assert fields["sha256"] in card
    assert "depends on the licences of the training images" in card
    assert "Research weights" not in card  # nothing is known about the user's photos
    monkeypatch.setenv("TICODEC_WEIGHTS", str(store))
    photo = folder / "0.png"
    ticodec("encode", photo, tmp_path / "a.tic", "-m", "mine", "-q", 6)
    ticodec("decode", tmp_path / "a.tic", tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").size == Image.open(photo).size

    onwards = tmp_path / "onwards"
    ticodec("train", *data, "--init", "mine", "--max-steps", 2, "--warmup", 1, "--out", onwards)
    went_on = checkpoint.load(onwards / "trunk.pt")
    assert went_on["config"]["N"] == 16
    assert went_on["history"][:-1] == manifest["models"]["mine"]["history"]
    assert went_on["history"][-1]["crops"] == 4
