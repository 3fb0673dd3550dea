"""Training of labels by the commands: whole sequences of commands, and refusals."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import GOLDEN, Result, make_pixels
from toys import ICAT, LABELS, PIXELS, VIT, toy, write_toys

from ticodec.models import config, families
from ticodec.training import checkpoint


@pytest.fixture
def ticodec(monkeypatch: pytest.MonkeyPatch, run):
    """A function that runs the command with presets of small networks."""
    monkeypatch.setitem(families.PRESETS, "icat-lite", replace(ICAT, labels=()))
    for name in ("vit", "vit-lite"):
        monkeypatch.setitem(config.VITS, name, VIT)
    return run


@pytest.fixture
def done(ticodec):
    """A function that runs a command which must succeed, and returns its output."""

    def call(*arguments: object) -> str:
        done = ticodec(*arguments)
        assert done.code == 0, done.err
        return done.out

    return call


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder. Weights are in its subfolder `store`."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(GOLDEN / "weights", "store")
    monkeypatch.setenv("TICODEC_WEIGHTS", "store")
    return tmp_path


COMMON = ("--crop", 64, "--batch", 4, "--warmup", 2, "--lr", "1e-3", "--device", "cpu")


def test_a_joint_model_from_two_steps_to_labels_and_pixels(toys: Path, work: Path, done) -> None:
    train = ("train", "--data", toys, *COMMON)
    first = "runs/icat-lite-step1/trunk.pt"
    said = done(*train, "--model", "icat-lite", "--step", 1, "--max-steps", 55)
    assert f"next: ticodec train --step 2 --init {first}" in said
    state = checkpoint.load(Path(first))
    assert (state["kind"], state["step"], state["options"]["weight_decay"]) == ("icat", 55, 0.05)
    assert (state["options"]["augment"], tuple(state["config"]["labels"])) == ("full", LABELS)
    done(*train, "--init", first, "--out", "two", "--max-steps", 2)
    done("train", "--data", toys, "--resume", "two/trunk.pt", "--out", "two",
         "--max-steps", 51, "--anneal-minutes", 0.01)  # fmt: skip
    annealed = checkpoint.load(Path("two/annealed.pt"))
    assert [run["step"] for run in annealed["history"]] == [1, 2, 2, 2]
    assert annealed["options"]["weight_decay"] == 0
    assert annealed["options"]["augment"] == "mild"
    rows = list(csv.DictReader(Path("runs/icat-lite-step1/log.csv").read_text().splitlines()))
    assert float(rows[0]["ce"]) > 0
    assert float(rows[0]["bpp"]) == 0
    held = list(csv.DictReader(Path("two/validation.csv").read_text().splitlines()))
    assert [row["quality"] for row in held] == ["1.0", "2.0", "3.0"]

    said = done("export", "two/annealed.pt", "--out", "store", "--name", "mine")
    assert "encode -m mine" in said
    Image.fromarray(make_pixels(70, 90)).save("photo.png")
    done("encode", "photo.png", "-m", "mine", "-q", 3)
    found = json.loads(done("classify", "photo.tic", "--json"))
    assert found[0]["model"] == "mine"
    assert {each["label"] for each in found[0]["labels"]} == set(LABELS)
    done("decode", "photo.tic", "back.png")
    assert Image.open("back.png").size == (90, 70)

    own = write_toys(work / "own", 2, ("cat", "dog"))
    done("train", "--data", own, *COMMON, "--head", "--model", "mine", "--init", "mine",
         "--max-steps", 2)  # fmt: skip
    history = checkpoint.load(Path("runs/mine-head/trunk.pt"))["history"]
    assert [run.get("step") for run in history] == [1, 2, 2, 2, None]
    done("export", "runs/mine-head/trunk.pt", "--out", "heads", "--name", "pets")
    arguments = ("classify", "photo.tic", "--weights", "heads/pets.safetensors", "--json")
    labels = json.loads(done(*arguments))[0]["labels"]
    assert {each["label"] for each in labels} == {"cat", "dog"}
    done("train", "--data", own, *COMMON, "--init", "mine", "--out", "own-run", "--max-steps", 2)
    done("export", "own-run/trunk.pt", "--out", "store", "--name", "pets")
    done("encode", "photo.png", "pets.tic", "-m", "pets")
    labels = json.loads(done("classify", "pets.tic", "--json"))[0]["labels"]
    assert {each["label"] for each in labels} == {"cat", "dog"}


@pytest.mark.parametrize("views", [0, 1])
def test_a_head_from_training_to_labels(views: int, toys: Path, work: Path, done) -> None:
    train = ("train", "--data", toys, *COMMON, "--views", views)
    done(*train, "--head", "--model", "tiny", "--max-steps", 3)
    done("train", "--data", toys, "--resume", "runs/tiny-head/trunk.pt", "--max-steps", 5,
         "--anneal-minutes", 0.01)  # fmt: skip
    facts = json.loads(done("export", "runs/tiny-head/annealed.pt", "--out", "store", "--json"))
    assert (facts["name"], facts["classifies"]) == ("tiny-head", "tiny")
    Image.fromarray(toy(1, 99, 80)).save("grass.png")
    done("encode", "grass.png", "-m", "tiny")
    assert len(done("classify", "grass.tic").splitlines()) == 3
    own = write_toys(work / "own", 2, ("cat", "dog"))
    done("train", "--data", own, *COMMON, "--head", "--model", "tiny", "--max-steps", 1,
         "--init", facts["path"], "--out", "own-run")  # fmt: skip
    said = done("export", "own-run/trunk.pt", "--out", "heads")
    assert "ticodec classify PHOTO.tic --weights heads/tiny-head.safetensors" in said
    said = done("classify", "grass.tic", "--weights", "heads/tiny-head.safetensors")
    assert sorted(line.split()[1] for line in said.splitlines()) == ["cat", "dog"]


def test_a_classifier_of_pixels(toys: Path, work: Path, ticodec, done) -> None:
    done("train", "--data", toys, *COMMON, "--model", "vit", "--max-steps", 2)
    assert checkpoint.load(Path("runs/vit/trunk.pt"))["config"] == PIXELS.to_dict()
    done("train", "--data", toys, "--resume", "runs/vit/trunk.pt", "--max-steps", 3)
    assert checkpoint.load(Path("runs/vit/trunk.pt"))["step"] == 3
    said = done("export", "runs/vit/trunk.pt", "--out", "store")
    assert "ticodec evaluate PHOTOS --classifier store/vit.safetensors" in said
    default = ticodec("export", "runs/vit/trunk.pt", "--out", "store", "--default")
    default.fails(2, "cannot be the default")


@pytest.mark.parametrize(
    ("code", "words", "arguments"),
    [
        (3, "no such folder", ("--data", "no", "--model", "icat-lite")),
        (3, "no subfolders with images", ("--data", "photos", "--model", "icat-lite")),
        (3, "no subfolders with images", ("--data", "photos", "--model", "vit")),
        (3, "no subfolders with images", ("--data", "photos", "--head", "--model", "tiny")),
        (3, "only one class", ("--data", "one", "--model", "icat-lite")),
        (3, "only one class", ("--data", "one", "--head", "--model", "tiny")),
        (3, "every class has only one image", ("--data", "single", "--model", "vit")),
        (2, "no size 'big' for --vit: choose one of vit", ("--head", "--vit", "big")),
        (
            2,
            "--vit sets the size of the classifier of --head: give --head",
            ("--model", "icat-lite", "--vit", "vit"),
        ),
        (2, "unknown preset 'icats'", ("--model", "icats")),
        (2, "--step must be 1 or 2", ("--model", "icat-lite", "--step", 3)),
        (2, "multiple of 32", ("--model", "icat-lite", "--crop", 100)),
        (2, "multiple of 32", ("--model", "icat-lite", "--crop", 0)),
        (2, "multiple of 32", ("--model", "vit", "--crop", 100)),
        (2, "multiple of 32", ("--head", "--model", "tiny", "--crop", -32)),
        (2, "--augment must be", ("--model", "icat-lite", "--augment", "wild")),
        (2, "--smallest must be", ("--model", "vit", "--smallest", 0)),
        (2, "--views: it is only for heads", ("--model", "vit", "--views", 2)),
        (2, "--enlarge: it is only for heads", ("--resume", "vit.pt", "--enlarge", 2)),
        (2, "--enlarge needs --views", ("--head", "--model", "tiny", "--enlarge", 2)),
        (2, "--batch must be", ("--model", "vit", "--batch", 0)),
        (2, "has no lambdas", ("--head", "--model", "tiny", "--lmbda", 0.01)),
        (2, "has no aggregation", ("--model", "tic-lite", "--no-aggregation")),
        (2, "has no activation", ("--model", "icat-lite", "--activation", "gdn")),
        (2, "no weights for model 'absent'", ("--head", "--model", "absent")),
        (2, "no weights for model 'absent'", ("--init", "absent")),
        (2, "tiny is a tic-lite", ("--model", "icat-lite", "--init", "tiny")),
        (2, "is a classifier: give --head", ("--model", "icat-lite", "--init", "vit.pt")),
        (2, "a codec that has no classifier", ("--head", "--model", "tiny", "--init", "codec.pt")),
        (2, "--enlarge must be 1, 2 or 4", ("--head", "--model", "tiny", "--enlarge", 3)),
        (2, "--teacher: it is only for heads", ("--model", "icat-lite", "--teacher", "vit.pt")),
        (2, "--teacher: it is only for heads", ("--resume", "icat.pt", "--teacher", "vit.pt")),
        (2, "has no classifier", ("--head", "--model", "tiny", "--teacher", "codec.pt")),
        (3, "--teacher absent.pt: absent", ("--model", "vit", "--teacher", "absent.pt")),
        (2, "would replace", ("--model", "vit", "--teacher", "vit.pt", "--out", ".")),
        (
            2,
            "has the labels blue sea, grass, red",
            ("--data", "two", "--model", "vit", "--teacher", "vit.pt"),
        ),
        (3, "not a checkpoint", ("--model", "vit", "--init", "text.pt")),
        (3, "not a classifier", ("--model", "vit", "--init", "text.safetensors")),
        (3, "is missing", ("--model", "vit", "--init", "absent.safetensors")),
        (3, "no such checkpoint", ("--model", "vit", "--init", "absent.pt")),
        (2, "leave out --step: a resumed run", ("--resume", "icat.pt", "--step", 2)),
        (2, "leave out --vit: a resumed run", ("--resume", "vit.pt", "--vit", "vit-lite")),
        (2, "leave out --head: a resumed run", ("--resume", "vit.pt", "--head")),
        (2, "leave out --no-aggregation", ("--resume", "icat.pt", "--no-aggregation")),
        (2, "needs --crop 64; for another", ("--resume", "icat.pt", "--crop", 96)),
        (2, "which it reads: give another --out", ("--init", "icat.pt", "--out", ".")),
        (2, "this network has blue sea", ("--data", "two", "--resume", "icat.pt")),
        (2, "this network has blue sea", ("--data", "two", "--resume", "vit.pt")),
    ],
)
def test_refused_options(code: int, words: str, arguments, refusing) -> None:
    refusing(*arguments).fails(code, words)


@pytest.fixture(scope="module")
def prepared(toys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders with too few classes, and checkpoints of both kinds."""
    from support import CPU, SMALL, SMALL_RUN
    from toys import FIRST

    from ticodec.training.codec_trainer import Trainer
    from ticodec.training.head_trainer import HeadTrainer
    from ticodec.training.joint_trainer import JointTrainer

    folder = tmp_path_factory.mktemp("prepared")
    (folder / "photos").mkdir()
    Image.fromarray(make_pixels(80, 80)).save(folder / "photos" / "a.png")
    write_toys(folder / "one", 2, ("cat",))
    write_toys(folder / "two", 2, ("cat", "dog"))
    write_toys(folder / "single", 1)
    shutil.copytree(toys, folder / "toys")
    JointTrainer(ICAT, FIRST, CPU).save(folder / "icat.pt")
    Trainer(SMALL, SMALL_RUN, CPU).save(folder / "codec.pt")
    HeadTrainer(PIXELS, FIRST, CPU).save(folder / "vit.pt")
    for name in ("text.pt", "text.safetensors"):
        (folder / name).write_bytes(bytes(np.arange(200, dtype=np.uint8)))
    return folder


@pytest.fixture
def refusing(prepared: Path, ticodec, monkeypatch: pytest.MonkeyPatch):
    """A function that runs `ticodec train` in the folder of `prepared`, by default on the toys."""
    monkeypatch.chdir(prepared)

    def call(*arguments: object) -> Result:
        data = () if "--data" in arguments else ("--data", "toys")
        out = () if "--out" in arguments else ("--out", "out")
        return ticodec("train", *data, *arguments, *out, "--max-steps", 0, "--device", "cpu")

    return call
