"""`ticodec export`: where it writes, what it refuses, and the next command that it prints."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support import CPU, GOLDEN, SMALL, SMALL_RUN, make_pixels
from toys import FIRST, of_tiny, saved

from ticodec import weights
from ticodec.training import checkpoint
from ticodec.training.codec_trainer import Trainer
from ticodec.training.head_trainer import HeadTrainer
from ticodec.weights.store import SHIPPED, user_folder


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Sizes and times of all files below a folder."""
    files = (path for path in folder.rglob("*") if "__pycache__" not in path.parts)
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in files}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Checkpoints of two networks with the same dimensions."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for seed, name in enumerate(("one.pt", "two.pt")):
        trainer = Trainer(SMALL, replace(SMALL_RUN, seed=seed), CPU)
        trainer.calibration = torch.from_numpy(make_pixels(128, 128))[None]
        trainer.average.load_state_dict(trainer.network.state_dict())
        trainer.save(folder / name)
    return folder / "one.pt", folder / "two.pt"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's weights folder, in a folder whose name must be quoted. Sets the current folder."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "a user's data"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    folder = user_folder()
    assert folder is not None
    return folder


@pytest.fixture
def typed(run, monkeypatch: pytest.MonkeyPatch):
    """A function that runs the command after "use it with", with files for names such as PHOTO."""

    def call(said: str, **files: Path) -> None:
        (line,) = [row for row in said.splitlines() if row.startswith("use it with: ")]
        words = shlex.split(line.removeprefix("use it with: "))
        with monkeypatch.context() as patch:
            while "=" in words[0]:
                patch.setenv(*words.pop(0).split("=", 1))
            assert words.pop(0) == "ticodec"
            done = run(*[files.get(word.split(".")[0], word) for word in words])
            assert done.code == 0, done.err

    return call


def test_by_default_only_the_users_folder_is_written_to(
    home: Path, checkpoints, photo: Path, tmp_path: Path, run, typed
) -> None:
    before = snapshot(SHIPPED), snapshot(tmp_path)
    done = run("export", checkpoints[0], "--name", "mine")
    assert done.code == 0, done.err
    entry = weights.find("mine")
    assert entry.path.parent == home
    assert snapshot(SHIPPED) == before[0]
    new = snapshot(tmp_path).keys() - before[1].keys()
    assert all(path.startswith(str(home)) or Path(path) in home.parents for path in new)
    assert str(entry.path) in done.out
    assert "TICODEC_WEIGHTS" not in done.out
    typed(done.out, PHOTO=photo)
    run("decode", photo.with_suffix(".tic"), tmp_path / "back.png")
    assert (tmp_path / "back.png").exists()


def test_json(home: Path, checkpoints, run) -> None:
    facts = json.loads(run("export", checkpoints[0], "--name", "mine", "--json").out)
    entry = weights.find("mine")
    assert facts == {
        "name": "mine",
        "fingerprint": entry.fingerprint.hex(),
        "path": str(entry.path),
        "bytes": entry.path.stat().st_size,
        "changed": True,
    }
    again = json.loads(run("export", checkpoints[0], "--name", "mine", "--json").out)
    assert again == facts | {"changed": False}
    assert "there already" in run("export", checkpoints[0], "--name", "mine").out


def test_every_file_that_is_written_is_named_once(home: Path, checkpoints, run) -> None:
    said = run("export", checkpoints[0], "--name", "mine").out
    weights_file = weights.find("mine").path
    written = {path.name for path in home.glob("mine-*")}
    assert len(written) == 3
    lines = said.splitlines()[:3]
    assert {Path(line.split(": ")[0]).name for line in lines} == written
    assert lines[0].startswith(f"{weights_file}: ")
    assert f"{weights_file.with_suffix('.md')}: the model card" in lines
    (preview,) = home.glob("mine-preview-*")
    assert f"{preview}: the preview, for `decode --scale`" in lines
    again = run("export", checkpoints[0], "--name", "mine").out
    assert "there already" in again
    assert "card" not in again
    assert "preview" not in again


def test_a_folder_elsewhere_is_named_in_the_command(
    home: Path, checkpoints, photo: Path, run, typed, monkeypatch
) -> None:
    said = run("export", checkpoints[0], "--name", "mine", "--out", "it's $HOME").out
    folder = Path("it's $HOME").resolve()
    assert f"TICODEC_WEIGHTS={shlex.quote(str(folder))} ticodec encode" in said
    typed(said, PHOTO=photo)
    monkeypatch.setenv("TICODEC_WEIGHTS", str(folder))
    said = run("export", checkpoints[0], "--name", "mine", "--out", "it's $HOME").out
    assert "use it with: ticodec encode" in said
    assert not home.exists()


def test_a_name_that_is_hidden_needs_the_folder_in_the_command(
    home: Path, checkpoints, photo: Path, run, typed
) -> None:
    """The name "tiny" exists in a folder that is searched before the user's."""
    said = run("export", checkpoints[0], "--name", "tiny").out
    assert f"TICODEC_WEIGHTS={shlex.quote(str(home))} ticodec encode" in said
    typed(said, PHOTO=photo)


def test_force_takes_over_a_name_and_old_files_still_decode(
    home: Path, checkpoints, photo: Path, tmp_path: Path, run
) -> None:
    assert run("export", checkpoints[0], "--name", "mine").code == 0
    old = weights.find("mine").fingerprint.hex()
    assert run("encode", photo, "old.tic", "-m", "mine").code == 0
    assert run("decode", "old.tic", "old.png").code == 0
    before = snapshot(home)
    run("export", checkpoints[1], "--name", "mine").fails(2, "--name", "--force", old)
    assert snapshot(home).keys() == before.keys()
    done = run("export", checkpoints[1], "--name", "mine", "--force")
    assert f"-m mine stood for weights {old} until now; their files still decode" in done.out
    assert run("encode", photo, "new.tic", "-m", "mine").code == 0
    for name in ("old", "new"):
        assert run("decode", f"{name}.tic", f"{name}-again.png").code == 0
    assert Path("old-again.png").read_bytes() == Path("old.png").read_bytes()
    info = [json.loads(run("info", f"{name}.tic", "--json").out) for name in ("old", "new")]
    assert info[0]["weights"] == old != info[1]["weights"]
    rows = [r for r in json.loads(run("models", "--json").out) if r["name"] == "mine"]
    assert [row["state"] for row in rows] == ["current", "earlier"]
    assert [row["weights"] for row in rows] == [info[1]["weights"], old]


def test_the_default_changes_only_if_asked(home: Path, checkpoints, run, monkeypatch) -> None:
    monkeypatch.delenv("TICODEC_WEIGHTS")
    before = weights.find(None)
    said = run("export", checkpoints[0], "--name", "mine").out
    assert weights.find(None) == before
    assert "default model" not in said
    said = run("export", checkpoints[0], "--name", "mine", "--default").out
    assert weights.find(None).name == "mine"
    assert "it is the default model" in said


def test_a_head_of_earlier_weights_is_used_for_their_files(
    checkpoints, toys: Path, tmp_path: Path, photo: Path, run, typed, monkeypatch
) -> None:
    store = tmp_path / "store"
    shutil.copytree(GOLDEN / "weights", store)
    monkeypatch.setenv("TICODEC_WEIGHTS", str(store))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    ckpt = saved(HeadTrainer(of_tiny(), FIRST, CPU), toys, tmp_path / "head.pt", 1)
    assert run("encode", photo, "-m", "tiny").code == 0
    done = run("export", checkpoints[0], "--name", "tiny", "--out", store, "--force")
    assert done.code == 0, done.err
    assert weights.find("tiny").fingerprint.hex() != "37eb2f07"
    done = run("export", ckpt, "--out", store)
    assert "use it with: ticodec classify PHOTO.tic\n" in done.out
    assert "files of tiny, weights 37eb2f07" in done.out
    typed(done.out, PHOTO=photo.with_suffix(".tic"))
    run("export", ckpt, "--out", store, "--name", "tiny").fails(2, "name of weights", "--name")
    rows = {row["weights"]: row for row in json.loads(run("models", "--json").out)}
    assert (rows["37eb2f07"]["state"], rows["37eb2f07"]["labels"]) == ("earlier", 3)
    # In another folder it is named by its file.
    done = run("export", ckpt)
    assert str(user_folder()) in done.out
    typed(done.out, PHOTO=photo.with_suffix(".tic"))


def test_no_home_to_write_to(home: Path, checkpoints, run, monkeypatch) -> None:
    monkeypatch.setattr("ticodec.weights.store.user_folder", lambda: None)
    run("export", checkpoints[0]).fails(2, "no home folder", "--out")


def test_a_folder_that_the_variable_cannot_name(checkpoints, tmp_path: Path, run) -> None:
    folder = tmp_path / f"a{os.pathsep}b"
    run("export", checkpoints[0], "--out", folder).fails(2, "TICODEC_WEIGHTS cannot name")
    assert not folder.exists()


def test_a_bad_name_is_refused_before_compiling(home: Path, tmp_path: Path, run) -> None:
    checkpoint.save(tmp_path / "empty.pt", {})
    run("export", tmp_path / "empty.pt", "--name", "a/b").fails(2, "--name must be letters")
    long = "n" * 250
    run("export", tmp_path / "empty.pt", "--name", long).fails(2, long, "its name is too long")
    assert not home.exists()


def test_a_file_that_is_no_checkpoint(run, photo: Path, tmp_path: Path) -> None:
    """torch's own message recommends a way to load it that would run code in the file."""
    result = run("export", photo, "--out", tmp_path / "out")
    result.fails(3, f"{photo}: damaged, or not a checkpoint of `ticodec train`")
    assert "weights_only" not in result.err
