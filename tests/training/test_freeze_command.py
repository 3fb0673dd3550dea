"""`ticodec train --freeze transforms` as a user runs it."""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from support import CPU, SMALL, SMALL_RUN
from toys import FIRST, PIXELS, frozen_tiny

from ticodec import weights
from ticodec.errors import BadInputError, UsageError
from ticodec.training import checkpoint
from ticodec.training.codec_trainer import Trainer
from ticodec.training.distributed import Ranks
from ticodec.training.entropy_trainer import TRAINED, EntropyTrainer
from ticodec.training.head_trainer import HeadTrainer
from ticodec.training.request import Request
from ticodec.training.start import resume, start

COMMON = ("--crop", 64, "--batch", 2, "--max-steps", 2, "--warmup", 1, "--device", "cpu")
FREEZE = ("--freeze", "transforms")


@pytest.fixture
def train(run, photos_here: Path):
    """A function that runs `ticodec train` on photos, in a new current folder."""
    return lambda *arguments: run("train", "--data", "photos", *COMMON, *arguments)


def test_train_resume_anneal_export_encode(train, run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ticodec.training.run_log.LOG_STEPS", 2)
    done = train(*FREEZE, "--init", "tiny", "--seed", 3)
    assert done.code == 0, done.err
    assert "0.0 megapixels encoded, in 2 pieces" in done.out
    assert "symbols counted for the tables" in done.out
    trunk = Path("runs/tic-lite/trunk.pt")
    first = checkpoint.load(trunk)
    resumed = ("--resume", trunk, "--max-steps", 4, "--anneal-minutes", 0.001)
    train(*resumed, *FREEZE).fails(2, "leave out --freeze: a resumed run keeps its own")
    done = train(*resumed)
    assert done.code == 0, done.err
    state = checkpoint.load(Path("runs/tic-lite/annealed.pt"))
    assert state["step"] > 4
    runs = [(entry["freeze"], "annealed" in entry) for entry in state["history"][-3:]]
    assert runs == [("transforms", False), ("transforms", False), ("transforms", True)]
    for name, value in state["average"].items():
        assert torch.equal(value, first["average"][name]) != name.startswith(TRAINED)
    log, validation = (
        list(csv.reader(Path(f"runs/tic-lite/{name}.csv").read_text().splitlines()))
        for name in ("log", "validation")
    )
    assert log[0][5:7] == ["loss", "bpp"]
    assert [row[1] for row in log[1:3]] == ["2", "4"]
    assert [row[2] for row in validation] == ["quality", "1.0", "3.0", "5.0", "8.0"]

    export = shlex.split(done.out.rpartition("next: ticodec ")[2])
    assert export[:2] == ["export", "runs/tic-lite/annealed.pt"]
    done = run(*export[:2], "--name", "sharp", "--out", "store")
    assert done.code == 0, done.err
    monkeypatch.setenv("TICODEC_WEIGHTS", "store")
    assert weights.find("sharp").qualities == (1, 8)
    photo = Path("photos/0.png")
    assert run("encode", photo, "a.tic", "-m", "sharp", "-q", 2).code == 0
    assert run("decode", "a.tic", "a.png").code == 0
    assert Image.open("a.png").size == Image.open(photo).size


def test_the_pass_is_compiled_before_photos_are_loaded(train, monkeypatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda function: function)
    done = train(*FREEZE, "--init", "tiny", "--compile")
    assert done.code == 0, done.err
    assert "compiled in" in done.out


def test_contradicting_options_are_reported_in_one_line(train) -> None:
    train(*FREEZE).fails(2, "--freeze keeps the transforms of trained weights: give --init")
    known = ("--init", "tiny")
    train("--freeze", "gains", *known).fails(2, "--freeze must be transforms, or left out")
    for other in (("--init", "tiny-icat"), ("--model", "vit-lite"), ("--head", *known)):
        train(*FREEZE, *other).fails(2, "leave out --freeze: it is only for codecs")
    HeadTrainer(PIXELS, FIRST, CPU).save(Path("head.pt"))
    train(*FREEZE, "--init", "head.pt").fails(2, "head.pt is a classifier")
    train(*FREEZE, "--init", "none.safetensors").fails(2, "no weights for model")
    train(*FREEZE, *known, "--lmbda", 0.1).fails(2, "leave out --lmbda: --init has its own")
    train(*FREEZE, *known, "--crop", 96).fails(2, "--crop must be a multiple of 64")
    train(*FREEZE, *known, "--step", 1).fails(2, "leave out --step: it is only for icat")
    train(*FREEZE, *known, "--crop", 128).fails(3, "no readable image of at least 128×128 pixels")
    assert not list(Path().rglob("trunk.pt"))


def test_several_processes_are_refused_before_photos_are_encoded(train, monkeypatch) -> None:
    @contextmanager
    def together() -> Iterator[Ranks]:
        yield Ranks(0, 2)

    monkeypatch.setattr("ticodec.training.distributed.together", together)
    monkeypatch.setattr(EntropyTrainer, "load_data", None)
    train(*FREEZE, "--init", "tiny").fails(2, "--freeze trains in one process", "torchrun")


def test_help_describes_freeze(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    text = " ".join(re.sub("[│╭╮╰╯─]", " ", run("train", "--help").out).split())
    own = text[text.index("--freeze") :]
    assert own.startswith(
        "--freeze <str> transforms: train only the entropy model (h_a, h_s, context model and "
        "prior). The transforms g_a and g_s and the gains stay as they are in --init. Photos are "
        "encoded once, before training. Only for codecs. [default: none]"
    )


def begun(**request: object) -> EntropyTrainer:
    options = {"freeze": "transforms", **request.pop("options", {})}
    return start(Request(Path(), options=options, **{"init": "tiny", **request}))


def test_a_run_has_the_qualities_of_the_weights_that_it_begins_from(tmp_path: Path) -> None:
    assert begun().options.quality_range == (1, 8)
    assert begun(options={"quality_range": (2.0, 3.0)}).options.quality_range == (2, 3)
    Trainer(SMALL, replace(SMALL_RUN, quality_range=(5, 6)), CPU).save(tmp_path / "a.pt")
    some = str(tmp_path / "a.pt")
    assert begun(init=some).options.quality_range == (5, 6)
    with pytest.raises(UsageError, match="`quality_range` must be within 5 to 6"):
        begun(init=some, options={"quality_range": (5.0, 8.0)})


def test_a_resumed_run_keeps_its_qualities(tmp_path: Path) -> None:
    trunk = tmp_path / "trunk.pt"
    begun(options={"quality_range": (2.0, 5.0)}).save(trunk)
    assert resume(trunk, CPU, options={"quality_range": (3.0, 5.0)}).step == 0
    with pytest.raises(UsageError, match="`quality_range` must be within 2 to 5"):
        resume(trunk, CPU, options={"quality_range": (2.0, 6.0)})


def test_models_without_such_training_refuse_it() -> None:
    class Other(Trainer):
        kind = "other"

    request = Request(Path(), options={"freeze": "transforms"}, init="tiny")
    with pytest.raises(UsageError, match="leave out `freeze`: models of the kind other"):
        Other.begin(request)


@pytest.mark.parametrize("options", [None, 5, {"freeze": 5}, {"freeze": "transforms"}, {}])
def test_damaged_options_of_a_checkpoint_are_bad_input(options: object, tmp_path: Path) -> None:
    state = {**frozen_tiny().state(), "options": options}
    checkpoint.save(tmp_path / "a.pt", state)
    with pytest.raises((BadInputError, UsageError)):
        resume(tmp_path / "a.pt", CPU)
    with pytest.raises(BadInputError):
        begun(init=str(tmp_path / "a.pt"))
