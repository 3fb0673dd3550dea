"""Folders of runs: files of another run are not replaced, and the next command is right."""

from __future__ import annotations

import errno
import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from filelock import FileLock
from support import CPU, SMALL, SMALL_RUN
from toys import FIRST, ICAT, PIXELS, VIT, of_tiny, write_toys

from ticodec.errors import TicodecError
from ticodec.models import config, families
from ticodec.training import checkpoint, run_log
from ticodec.training.codec_trainer import Trainer
from ticodec.training.head_trainer import HeadTrainer
from ticodec.training.joint_trainer import JointTrainer
from ticodec.training.request import Request
from ticodec.training.run_folder import LOCK, folder_of, next_command

COMMON = ("--crop", 64, "--batch", 2, "--max-steps", 1, "--device", "cpu")


@pytest.fixture
def train(run, photos_here: Path):
    """A function that runs `ticodec train` on photos with a small network, in a new folder."""
    return lambda *arguments: run("train", "--data", "photos", *COMMON, *arguments)


def test_a_run_replaces_no_other(train) -> None:
    trunk = Path("runs/tic-lite/trunk.pt")
    assert train().code == 0
    before = trunk.read_bytes()
    train().fails(2, "runs/tic-lite/trunk.pt already exists", "--resume", "--out", "--force")
    train("--out", "runs/tic-lite").fails(2, "already exists")
    assert trunk.read_bytes() == before
    assert train("--out", "other").code == 0
    train("--resume", "other/trunk.pt", "--out", "runs/tic-lite").fails(2, "already exists")
    assert trunk.read_bytes() == before
    assert train("--seed", 1, "--force").code == 0
    assert trunk.read_bytes() != before


def test_a_run_that_ends_within_its_warm_up_says_so(train) -> None:
    """Its weights are nearly useless, and it has written no log."""
    done = train("--max-steps", 3)
    assert done.code == 0
    rising = (
        "ticodec: note: the learning rate was still rising: the run ended after 3 of 200 warm-up "
        "steps; give --warmup 1 or train longer"
    )
    assert rising in done.err.splitlines()
    assert "ticodec: note: there is no log.csv: it gets a row after every 50 steps" in done.err
    assert not Path("runs/tic-lite/log.csv").exists()


def test_a_run_that_is_long_enough_prints_no_note(train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_log, "LOG_STEPS", 2)
    done = train("--max-steps", 3, "--warmup", 3)
    assert done.code == 0
    assert "note" not in done.err
    assert Path("runs/tic-lite/log.csv").exists()


def test_a_run_is_resumed_in_its_own_folder(train) -> None:
    assert train().code == 0
    assert train("--resume", "runs/tic-lite/trunk.pt", "--max-steps", 2).code == 0
    assert checkpoint.load(Path("runs/tic-lite/trunk.pt"))["step"] == 2


def test_an_annealed_copy_does_not_replace_its_trunk(train) -> None:
    assert train("--anneal-minutes", 0.001).code == 0
    before = Path("runs/tic-lite/trunk.pt").read_bytes()
    annealed = ("--resume", "runs/tic-lite/annealed.pt")
    train(*annealed).fails(2, "annealed.pt", "--out")
    train(*annealed, "--force", "--anneal-minutes", 0.001).fails(2, "annealed.pt", "--out")
    assert Path("runs/tic-lite/trunk.pt").read_bytes() == before
    Path("runs/tic-lite/trunk.pt").unlink()
    train().fails(2, "runs/tic-lite/annealed.pt already exists")


def test_two_runs_do_not_write_into_one_folder(train) -> None:
    """The second run notices this before it loads anything, and changes nothing."""
    folder = Path("runs/tic-lite")
    folder.mkdir(parents=True)
    with FileLock(folder / LOCK):
        train().fails(1, "runs/tic-lite: another run is writing there")
    assert [path.name for path in folder.iterdir()] == [LOCK]
    assert train().code == 0  # the lock file that is left has no effect


def test_checkpoints_are_written_completely_or_not_at_all(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "trunk.pt"
    checkpoint.save(path, {"step": 1})
    before = path.read_bytes()

    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(TicodecError, match=r"trunk\.pt: cannot be written: No space left"):
        checkpoint.save(path, {"step": 2})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["trunk.pt"]


def test_weights_that_a_run_begins_from_are_never_replaced(train) -> None:
    assert train().code == 0
    again = train("--init", "runs/tic-lite/trunk.pt", "--out", "runs/tic-lite", "--force")
    again.fails(2, "which it reads: give another --out")


def test_folders_are_named_after_what_is_trained(tmp_path: Path) -> None:
    def name(trainer, **request: object) -> str:
        return str(folder_of(Request(tmp_path, **request), trainer, None))

    joint = JointTrainer(ICAT, FIRST, CPU)
    assert name(Trainer(SMALL, SMALL_RUN, CPU)) == "runs/tic-lite"
    assert name(joint, model="icat-lite") == "runs/icat-lite-step1"
    assert name(JointTrainer(ICAT, replace(FIRST, step=2), CPU)) == "runs/icat"
    assert name(HeadTrainer(PIXELS, FIRST, CPU), model="vit-lite") == "runs/vit-lite"
    assert name(HeadTrainer(of_tiny(), FIRST, CPU), model="tiny", head=True) == "runs/tiny-head"
    assert name(joint, resume=tmp_path / "a" / "trunk.pt") == str(tmp_path / "a")
    assert folder_of(Request(tmp_path), joint, Path("out")) == Path("out")


def test_the_next_command_is_quoted() -> None:
    trainer = Trainer(SMALL, SMALL_RUN, CPU)
    made = Path("my runs/it's $HOME; rm *.pt/trunk.pt")
    command = next_command(made, Path("photos"), trainer)
    named = ["--name", "my-tic-lite"]  # tic-lite is the name of other weights
    assert shlex.split(command) == ["ticodec", "export", str(made), *named]
    command = next_command(Path("-x/trunk.pt"), Path(), HeadTrainer(PIXELS, FIRST, CPU))
    assert command == "ticodec export ./-x/trunk.pt"


def test_the_name_to_export_by_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(SMALL, SMALL_RUN, CPU)
    names = {"tic-lite", "my-tic-lite", "my-tic-lite-2"}
    monkeypatch.setattr("ticodec.weights.names", lambda: names)
    assert next_command(Path("t.pt"), Path(), trainer).endswith("--name my-tic-lite-3")
    names.remove("tic-lite")
    assert next_command(Path("t.pt"), Path(), trainer) == "ticodec export t.pt"


def test_the_name_to_export_by_is_that_of_the_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three presets are of the model `tic-plus`. Weights of one must not take another's name."""
    names = {"tic-plus", "tic-plus-high"}
    monkeypatch.setattr("ticodec.weights.names", lambda: names)

    def name(preset: str) -> str:
        trainer = SimpleNamespace(config=families.preset(preset), recorded_options=dict)
        return next_command(Path("t.pt"), Path(), trainer).removeprefix("ticodec export t.pt")

    assert name("tic-plus") == " --name my-tic-plus"
    assert name("tic-plus-low") == " --name tic-plus-low"
    assert name("tic-plus-high") == " --name my-tic-plus-high"
    assert name("tic") == ""


def test_the_next_command_runs_the_second_step(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is run as printed, with names of folders that a shell would split."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(families.PRESETS, "icat-lite", replace(ICAT, labels=()))
    monkeypatch.setitem(config.VITS, "vit-lite", VIT)
    classes = write_toys(Path("my 'own' \"classes\" :smile: [red]"), 2, ("cat", "dog"))
    first = Path("it's $a run-step1")
    first.with_name("it's $a run").mkdir()  # it exists already, so it must not be written to
    said = run("train", "--data", classes, "--model", "icat-lite", "--step", 1, "--out", first,
               *COMMON).out  # fmt: skip
    command = shlex.split(said.rpartition("next: ")[2])
    assert command[0] == "ticodec"
    done = run(*command[1:], *COMMON)
    assert done.code == 0, done.err
    second = Path("it's $a run-2")
    assert shlex.split(done.out.rpartition("next: ")[2]) == [
        "ticodec", "export", str(second / "trunk.pt"), "--name", "my-icat-lite",
    ]  # fmt: skip
    state = checkpoint.load(second / "trunk.pt")
    assert [entry["step"] for entry in state["history"]] == [1, 2]
    assert checkpoint.load(first / "trunk.pt")["options"]["step"] == 1
    exported = run(*shlex.split(done.out.rpartition("next: ")[2])[1:], "--out", "weights")
    assert exported.code == 0, exported.err


@pytest.mark.parametrize("value", ["nan", "inf", 0, -1])
def test_impossible_trade_offs(train, value: object) -> None:
    train("--lmbda", value).fails(2, "--lmbda must be a number above 0")


def test_options_that_installed_weights_fix_are_named_by_their_flag(train) -> None:
    for flag, value in (("--lmbda", 0.1), ("--activation", "none")):
        message = f"leave out {flag}: --init has its own"
        train("--init", "tiny", flag, value).fails(2, message)


def test_a_folder_that_cannot_be_written_is_refused_first(train, monkeypatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: str(path) != "runs/tic-lite")
    train().fails(1, "runs/tic-lite: cannot be written")
    assert [path.name for path in Path("runs/tic-lite").iterdir()] == [LOCK]
