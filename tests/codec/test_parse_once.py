"""Every function and command reads and checks a `.tic` file only once."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from support import make_pixels

import ticodec
from ticodec import container, weights
from ticodec.batch.messages import Job
from ticodec.batch.plan import make_plan
from ticodec.batch.worker import Worker
from ticodec.evaluation import measure
from ticodec.evaluation.registry import CoderSpec


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """A list of the data that `container.read` has been called with."""
    seen, read = [], container.read

    def counted(data: bytes, max_pixels: int = container.MAX_PIXELS) -> container.Container:
        seen.append(data)
        return read(data, max_pixels)

    monkeypatch.setattr(container, "read", counted)
    return seen


@pytest.fixture
def tic(joint, tmp_path: Path) -> Path:
    """A .tic file that can be classified."""
    path = tmp_path / "in" / "a.tic"
    path.parent.mkdir()
    path.write_bytes(joint.encode(make_pixels(70, 90), 2))
    return path


def test_the_functions(reads: list[bytes], joint, tic: Path) -> None:
    for call in (ticodec.decode, ticodec.classify, ticodec.info, joint.decode, joint.classify):
        reads.clear()
        call(tic)
        assert len(reads) == 1, call
    reads.clear()
    ticodec.encode(make_pixels(40, 40), model="joint")
    joint.classify(joint.containers([ticodec.Picture(make_pixels(40, 40))], 2)[0])
    assert reads == []


def test_the_commands(reads: list[bytes], run, joint, tic: Path) -> None:
    for words in (["decode", tic, "-f"], ["classify", tic], ["info", tic]):
        reads.clear()
        assert run(*words).code == 0
        assert len(reads) == 1, words
    reads.clear()
    photo = tic.with_suffix(".png")
    assert run("encode", photo, "-f", "-m", "joint").code == 0
    assert run("classify", photo, "-m", "joint").code == 0
    assert reads == []


@pytest.mark.parametrize("action", ["decode", "classify"])
def test_batch(reads: list[bytes], tic: Path, tmp_path: Path, action) -> None:
    target = str(tmp_path / "out") if action == "decode" else None
    job = Job(action, str(tic.parent), target, model="joint", device="cpu")
    (row,) = Worker(job).run(make_plan(job, [], []).items)
    assert row.status == "done"
    assert len(reads) == 1


def test_evaluate(reads: list[bytes], joint, tmp_path: Path) -> None:
    """Decoding and classifying are measured separately. Each of them reads the file once."""
    photo = tmp_path / "ant" / "a.png"
    photo.parent.mkdir()
    Image.fromarray(make_pixels(64, 64)).save(photo)
    spec = CoderSpec("joint", "cpu")
    source, _ = measure.load(photo)
    measure.ready(spec)
    reads.clear()
    _, data = measure.measure(spec, source, 2.0)
    assert reads == [data]
    reads.clear()
    assert measure.make(spec).rank(data, "ant") is not None
    assert reads == [data]
    assert weights.of(container.read(data).header).name == "joint"
