"""One field describes each training option: its help, defaults, check, and where it is used."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from support import CPU, SMALL, SMALL_RUN

from ticodec.errors import UsageError
from ticodec.training import checkpoint
from ticodec.training.codec_trainer import Trainer
from ticodec.training.option_field import ALL, LABELLED, Training, names_of
from ticodec.training.options import OPTIONS, TrainOptions, check_resumable, check_used

NAMES = [entry.name for entry in fields(TrainOptions)]
#: A value that is refused, for each option that has a check.
BAD = {
    "freeze": "gains",
    "crop": 100,
    "batch": 0,
    "lr": 0.0,
    "warmup": -1,
    "ema": 1.0,
    "clip": 0.0,
    "seed": 2**63,
    "optimizer": "sgd",
    "balance": 1.5,
    "shrink": 0.5,
    "quality_range": (3.0, 2.0),
    "weight_decay": -0.1,
    "step": 3,
    "ratio": -1.0,
    "smoothing": 1.0,
    "augment": "wild",
    "smallest": 0.0,
    "views": -1,
    "enlarge": 3,
}
#: Options that need no check, because any text may name a classifier.
UNCHECKED = {"teacher"}


@pytest.fixture
def help_text(run, monkeypatch: pytest.MonkeyPatch) -> str:
    """The output of `ticodec train --help` as one line without borders."""
    monkeypatch.setenv("COLUMNS", "400")
    result = run("train", "--help")
    assert result.code == 0
    return " ".join(re.sub("[│╭╮╰╯─]", " ", result.out).split())


def test_every_option_is_in_the_help_of_the_command(help_text: str) -> None:
    for name in NAMES:
        flag = f"--{name.replace('_', '-')} "
        own = help_text[help_text.index(flag) :]
        own = own[: own.index("[default: ")] + own[own.index("[default: ") :].split("]")[0] + "]"
        assert OPTIONS[name].described() in own, name


def test_defaults_of_every_kind_of_training_are_shown(help_text: str) -> None:
    for shown in (
        "[default: 256; icat, heads and vit: 224]",
        "[default: 8; icat, heads and vit: 32; icat's step 2: 16]",
        "[default: 0.0001; icat, heads and vit: 0.001; icat's step 2: 0.0001]",
        "[default: 0; icat, heads and vit: 0.05; icat's step 2: 0]",
        "Only for icat, heads and vit. [default: full; icat's step 2: mild]",
        "Only for codecs and icat's step 2. [default: 1 8]",
        "Only for heads and vit. [default: none]",
    ):
        assert shown in help_text


def test_every_option_has_help_and_a_check() -> None:
    assert BAD.keys() | UNCHECKED == set(NAMES)
    for name, option in OPTIONS.items():
        assert option.help.endswith(".")
        assert (option.check is None) == (name in UNCHECKED)
        assert all(option.check is None or option.check(v) for v in option.defaults.values())


@pytest.mark.parametrize(("name", "value"), BAD.items())
def test_values_out_of_range_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"^`{name}` must (be|not be) "):
        TrainOptions(**{name: value})


@pytest.mark.parametrize("training", Training)
def test_defaults_depend_on_what_is_trained(training: Training) -> None:
    """They are those of the papers: Lu et al., and the first and second step of Bai et al."""
    options = TrainOptions.of(training, {})
    labelled, second = training in LABELLED, training is Training.STEP_2
    assert options.crop == (224 if labelled else 256)
    assert options.batch == (16 if second else 32 if labelled else 8)
    assert options.lr == (1e-3 if labelled and not second else 1e-4)
    assert options.weight_decay == (0.05 if labelled and not second else 0.0)
    assert options.augment == ("full" if labelled and not second else "mild")
    assert TrainOptions.of(training, {"crop": 64}).crop == 64


@pytest.mark.parametrize("training", Training)
def test_options_that_would_be_ignored_are_refused(training: Training) -> None:
    for name, option in OPTIONS.items():
        if training in option.defaults:
            check_used(training, [name])
        else:
            with pytest.raises(UsageError, match=f"^leave out `{name}`: it is only for "):
                TrainOptions.of(training, {name: option.defaults[next(iter(option.defaults))]})


def test_a_run_keeps_options_that_cannot_change() -> None:
    check_resumable(["lr", "crop"])
    with pytest.raises(UsageError, match="leave out `seed`, `step`: a resumed run keeps its own"):
        check_resumable(["seed", "lr", "step"])


def test_the_history_has_the_options_that_a_training_uses() -> None:
    common = {"crop", "batch", "lr", "warmup", "seed", "optimizer", "weight_decay"}
    own = {
        Training.CODEC: {"balance", "shrink"},
        Training.ENTROPY: {"balance", "shrink"},
        Training.STEP_1: {"step", "smoothing", "augment", "smallest"},
        Training.STEP_2: {"step", "smoothing", "augment", "smallest", "balance", "ratio"},
        Training.HEAD: {"smoothing", "augment", "smallest", "views", "enlarge"},
        Training.PIXELS: {"smoothing", "augment", "smallest"},
    }
    for training, names in own.items():
        recorded = TrainOptions.of(training, {}).recorded(training).keys()
        assert recorded >= common | names
        assert not recorded & (set().union(*own.values()) - names)
        assert not recorded & {"ema", "clip", "quality_range", "teacher"}
    taught = TrainOptions.of(Training.PIXELS, {"teacher": "icat-lite"})
    assert taught.recorded(Training.PIXELS)["teacher"] == "icat-lite"


def test_kinds_of_training_are_listed_in_words() -> None:
    assert names_of(ALL) == "icat, codecs, heads and vit"
    assert names_of([Training.STEP_1]) == "icat's step 1"
    assert names_of([Training.HEAD, Training.PIXELS]) == "heads and vit"


def test_checkpoints_older_than_an_option_have_its_default(tmp_path: Path) -> None:
    Trainer(SMALL, SMALL_RUN, CPU).save(tmp_path / "trunk.pt")
    state = checkpoint.load(tmp_path / "trunk.pt")
    for name in ("teacher", "enlarge", "ema"):
        del state["options"][name]
    torch.save(state, tmp_path / "old.pt")
    assert Trainer.resume(tmp_path / "old.pt", CPU).options == SMALL_RUN
