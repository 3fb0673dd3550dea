"""Training for a quarter of an hour on a borrowed GPU, tried on the CPU with a small network."""

from __future__ import annotations

import csv
import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from ticodec.training import checkpoint, loop, parts, run_log

OPTIONS = ("--crop", 64, "--batch", 2, "--device", "cpu", "--lr", 1e-3, "--warmup", 2)
MINUTES = 0.1
BY_THE_CLOCK = ("--minutes", MINUTES, "--anneal-part", 0.7, "--part-mib", 1, "--part-minutes", 0.01)
#: Seconds by which a busy machine may be late.
LATE = 5


@pytest.fixture
def train(run, photos_here: Path):
    """A function that runs `ticodec train` on photos with a small network, in a new folder."""
    return lambda *arguments: run("train", "--data", "photos", *OPTIONS, *arguments)


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    return list(csv.DictReader(path.read_text().splitlines()))


def test_one_command_leaves_weights_that_encode(
    train, run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, set[str]]] = []
    leave = loop.Snapshots.leave

    def leave_and_look(self: loop.Snapshots) -> None:
        leave(self)
        here = {path.name for path in Path("gpu/parts").iterdir()}
        seen.append((Path("gpu/annealed.pt").exists(), here))

    monkeypatch.setattr(loop.Snapshots, "leave", leave_and_look)
    monkeypatch.setattr(run_log, "LOG_STEPS", 2)
    monkeypatch.setattr(parts, "MIB", 2**17)
    started = time.monotonic()
    done = train(*BY_THE_CLOCK, "--out", "gpu")
    assert done.code == 0, done.err
    assert time.monotonic() - started < 60 * MINUTES + LATE
    assert "next: ticodec export gpu/annealed.pt" in done.out

    trunk, annealed = (checkpoint.load(Path(f"gpu/{name}.pt")) for name in ("trunk", "annealed"))
    assert 0 < trunk["step"] < annealed["step"]
    assert annealed["history"][-1]["annealed"] > 0.5
    log, rows = (rows_of(Path(f"gpu/{name}.csv")) for name in ("log", "validation"))
    assert float(log[-1]["lr"]) < float(log[0]["lr"]) / 2
    assert list(log[0])[-3:] == ["crops_per_second", "skipped", "bpp_rounded"]
    assert all(float(row["bpp_rounded"]) > 0 for row in log)
    assert list(rows[0]) == ["step", "crops", "quality", "bpp", "psnr", "bpp_rounded"]
    assert [int(row["step"]) for row in rows] == [trunk["step"]] * 4 + [annealed["step"]] * 4

    # Sets of parts were written before the end. Only the last one has "done".
    assert len(seen) > 3
    assert not seen[0][0]
    assert all("done" not in here and "index.json" in here for _, here in seen)
    left = Path("gpu/parts")
    assert (left / "done").exists()
    sizes = [path.stat().st_size for path in left.glob("weights.*")]
    assert len(sizes) > 1
    assert max(sizes) <= parts.MIB
    state = checkpoint.load(left)
    assert state["step"] == annealed["step"]
    assert state["history"] == annealed["history"]
    for name, value in annealed["average"].items():
        assert torch.equal(state["average"][name], value.half().float()), name

    # Only the parts are needed later: they can be exported, and the weights encode.
    shutil.copytree(left, "back")
    made = [run("export", source, "--out", store, "--name", "mine", "--json")
            for source, store in (("back", "one"), ("gpu/annealed.pt", "two"))]  # fmt: skip
    assert [result.code for result in made] == [0, 0], made[0].err
    assert len({json.loads(result.out)["fingerprint"] for result in made}) == 1
    monkeypatch.setenv("TICODEC_WEIGHTS", str(tmp_path / "one"))
    assert run("encode", "photos/0.png", "a.tic", "-m", "mine", "-q", 6).code == 0
    assert run("decode", "a.tic", "a.png").code == 0
    assert Image.open("a.png").size == (100, 90)


def test_a_run_can_begin_from_weights_in_parts(train) -> None:
    assert train("--max-steps", 2, "--part-mib", 1, "--out", "gpu").code == 0
    left = checkpoint.load(Path("gpu/parts"))
    train("--resume", "gpu/parts").fails(2, "only averaged weights", "give it as --init")
    begin = ("--init", "gpu/parts", "--max-steps", 0)
    train(*begin, "--out", "gpu", "--force").fails(2, "would replace")
    assert train(*begin, "--out", "next").code == 0
    went_on = checkpoint.load(Path("next/trunk.pt"))
    assert went_on["history"] == left["history"]
    for name, value in left["average"].items():
        assert torch.equal(went_on["average"][name], value), name
    index = Path("gpu/parts/index.json")
    Path("gpu/parts/weights.0").write_bytes(b"of another set")
    train(*begin, "--out", "third").fails(3, "weights.0 does not belong", "copy the whole folder")
    index.unlink()
    Path("gpu/trunk.pt").unlink()
    assert train("--max-steps", 0, "--part-mib", 1, "--out", "gpu").code == 0
    Path("gpu/trunk.pt").unlink()
    train("--max-steps", 0, "--out", "gpu").fails(2, "gpu/parts already has weights of another run")


def test_a_compiled_run_is_the_same_run(train, monkeypatch: pytest.MonkeyPatch) -> None:
    """After warming up, it draws the same crops and noise. It can be resumed exactly.

    (Nothing is really compiled.)
    """
    monkeypatch.setattr(torch, "compile", lambda function: function)
    straight = train("--max-steps", 3, "--out", "straight")
    assert straight.code == 0, straight.err
    assert "compiled in" not in straight.out
    first = train("--max-steps", 2, "--out", "compiled", "--compile")
    assert first.code == 0, first.err
    assert "compiled in" in first.out
    again = train("--resume", "compiled/trunk.pt", "--max-steps", 3)
    assert again.code == 0, again.err
    one, two = (checkpoint.load(Path(f"{name}/trunk.pt")) for name in ("straight", "compiled"))
    assert torch.equal(one["random"]["torch"], two["random"]["torch"])
    assert torch.equal(one["random"]["sampler"], two["random"]["sampler"])
    for name, value in one["network"].items():
        assert torch.equal(two["network"][name], value), name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--minutes", 1, "--max-minutes", 1), ("--minutes", "leave out --max-minutes")),
        (("--anneal-part", 0.5), ("--anneal-part is a part of --minutes",)),
        (("--part-minutes", 1), ("--part-minutes needs --part-mib",)),
        (("--part-mib", 0), ("--part-mib must be at least 1",)),
        (("--minutes", 0.0001), ("were over before training could begin",)),
    ],
)
def test_impossible_options_give_one_line(train, arguments: tuple, words: tuple[str, ...]) -> None:
    result = train(*arguments)
    result.fails(1 if arguments[1] == 0.0001 else 2, *words)
    assert not list(Path.cwd().rglob("*.pt"))
