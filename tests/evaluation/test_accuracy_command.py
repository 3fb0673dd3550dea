"""`evaluate --classifier` and `--weights` as a user runs them."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from support import GOLDEN, Result

from evaluation.heads import RANKING, forget, write_head
from ticodec import weights
from ticodec.classifier import read_head
from ticodec.errors import BadInputError
from ticodec.evaluation.folder_labels import PixelFile


@pytest.fixture
def command(run) -> Callable[..., Result]:
    """A function that runs `ticodec evaluate` with empty caches, as in a new process."""

    def call(*arguments: object) -> Result:
        forget()
        return run("evaluate", *arguments)

    return call


def test_evaluate_with_a_classifier(command, shell, classes, tmp_path, headed, pixels) -> None:
    """Workers, which are processes of their own, print no warnings either."""
    headed(ranking=RANKING[::-1])
    out = tmp_path / "report"
    options = ("-m", "headed", "--device", "cpu", "-q", "2", "--against", "jpeg", "--out", out)
    given = ("evaluate", classes, *options, "--classifier", pixels.path, "--jobs", 2)
    done = shell(*given, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    words = [line.split() for line in done.stdout.splitlines()]
    assert ["original", *["–"] * 8, "50.0", "75.0", "–", "–"] in words
    ours = next(line for line in words if line[:3] == ["headed", "quality", "2"])
    assert ours[-6:-2] == ["25.0", "25.0", "50.0", "75.0"]
    assert "rate-accuracy.svg" in done.stdout
    assert "pixels top-1, %" in (out / "report.html").read_text()
    facts = json.loads(command(classes, *options, "--json").out)
    assert {row["top1"] for row in facts["means"]} == {0.25, None}
    assert "original" not in facts


def test_classifiers_that_cannot_be_used(command, classes, tmp_path, headed, pixels) -> None:
    """They are reported in one line before any measurement."""
    latents = headed(ranking=RANKING).head.path
    damaged, wrong = tmp_path / "damaged", tmp_path / "wrong"
    damaged.write_bytes(pixels.path.read_bytes()[:-100])
    write_head(wrong, channels=3)
    for path, why in {
        tmp_path / "gone": "the classifier is missing: No such file",
        tmp_path: "the classifier is missing: Is a directory",
        damaged: "not a classifier of ticodec",
        latents: "this classifier reads latents, not pixels",
        GOLDEN / "weights" / "tiny.safetensors": "not a classifier of ticodec",
        wrong: "not a classifier of pixels",
    }.items():
        with pytest.raises(BadInputError, match=f"^{path}: {why}") as found:
            PixelFile.checked(path, "cpu")
        assert "\n" not in str(found.value)
    done = command(classes, "-m", "tiny", "--classifier", latents, "--out", tmp_path / "report")
    assert done.code == 3
    assert done.err == f"ticodec: {latents}: this classifier reads latents, not pixels\n"
    assert not (tmp_path / "report").exists()


@pytest.mark.usefixtures("unrendered")
def test_evaluate_with_another_classifier_of_latents(command, classes, tmp_path, headed) -> None:
    """It is used instead of the model's own classifier, but only in runs that name it.

    Without -m, the model that it reads is measured.
    """
    own = tmp_path / "own.safetensors"
    entry = headed(ranking=RANKING[::-1])
    fields = {"codec": "headed", "fingerprint": entry.fingerprint.hex(), "stem": "latents"}
    channels = read_head(entry.head.path, None)[0].channels
    write_head(own, RANKING, channels=channels, **fields)
    options = ("--device", "cpu", "-q", "2", "--against", "none", "--json")
    options += ("--out", tmp_path / "report")
    said = []
    for given in (("-m", "headed", "--weights", own), ("-m", "headed"), ("--weights", own)):
        done = command(classes, *options, *given, "--jobs", 2 if own in given else 1)
        assert (done.code, done.err) == (0, "")  # workers print no warnings either
        said.append(done.out)
    rows = [row for each in said for row in json.loads(each)["means"]]
    assert [row["top1"] for row in rows] == [0.5, 0.25, 0.5]


def test_classifiers_of_latents_that_cannot_be_used(
    command, classes, tmp_path, headed, pixels
) -> None:
    latents = headed(ranking=RANKING).head.path
    other, wrong = tmp_path / "other", tmp_path / "wrong"
    write_head(other, stem="latents", codec="tiny", fingerprint="01020304", channels=16)
    write_head(wrong, stem="latents", codec="headed", channels=3,
               fingerprint=weights.find("headed").fingerprint.hex())  # fmt: skip
    damaged = tmp_path / "damaged"
    damaged.write_bytes(latents.read_bytes()[:-100])
    for path, model, code, why in (
        (tmp_path / "gone", "headed", 3, "the classifier is missing"),
        (damaged, "headed", 3, "not a classifier of ticodec"),
        (pixels.path, "headed", 3, "this classifier reads pixels; give it as --classifier"),
        (wrong, "headed", 3, "this classifier reads 3 channels"),
        (other, "headed", 2, "reads the latents of tiny (01020304); name these weights as -m"),
    ):
        out = tmp_path / "report"
        done = command(classes, "-m", model, "--weights", path, "--out", out, "--device", "cpu")
        assert (done.code, done.out) == (code, "")
        (line,) = done.err.splitlines()
        assert line.startswith(f"ticodec: {path}")
        assert why in line
        assert not out.exists()
