"""How workers of one machine share its memory: how many parts each has, and which one waits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from batch_support import rows
from PIL import Image
from support import make_pixels

from ticodec import memory
from ticodec.batch import parts
from ticodec.batch.local import LocalEngine
from ticodec.batch.messages import Item, Job
from ticodec.batch.parts import Parts, divided, parts_for
from ticodec.batch.worker import Worker

GIB = 1 << 30


def test_workers_are_served_in_the_order_of_their_requests() -> None:
    shared: Parts[str] = Parts(3)
    for worker in "abc":
        shared.take(worker)
    assert shared.free() == 0
    shared.ask("a", 2)
    assert shared.granted() == []  # b and c have one part each
    shared.ask("b", 3)
    assert shared.granted() == ["a"]
    shared.leave("c")
    assert shared.free() == 0  # one part is free, but b waits for it
    shared.ask("a", 1)
    assert shared.granted() == ["b"]
    shared.leave("b")
    assert shared.granted() == ["a"]
    assert shared.free() == 2


def test_a_dead_worker_is_not_waiting() -> None:
    shared: Parts[str] = Parts(2)
    shared.take("a")
    shared.ask("b", 2)
    shared.ask("c", 1)
    shared.leave("b")
    assert shared.granted() == ["c"]


def test_parts_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 8 * GIB)
    monkeypatch.setattr(memory, "LOADED", GIB)
    monkeypatch.setattr(parts, "cores", lambda: 9)
    job = divided(Job("encode", "in", memory=8 * GIB), 4)
    assert (job.parts, job.part, job.threads) == (4, GIB, 2)
    assert job.memory == 5 * GIB  # for one worker with all parts, while the other three wait
    needs = (0, 1, GIB, GIB + 1, 3 * GIB, 9 * GIB)
    assert [parts_for(job, need) for need in needs] == [1, 1, 1, 2, 3, 4]
    monkeypatch.setattr(memory, "available", lambda: None)
    unknown = divided(Job("encode", "in", memory=None), 4)
    assert (unknown.part, parts_for(unknown, 99 * GIB), unknown.threads) == (None, 1, 2)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with six small and six larger photos in alternating order."""
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(12):
        side = 160 if number % 2 else 32
        Image.fromarray(make_pixels(side, side, number)).save(folder / f"{number:02}.png")
    return folder


def items_of(folder: Path) -> list[Item]:
    return [Item(path.name, f"{path.stem}.tic") for path in sorted(folder.iterdir())]


def test_only_large_photos_ask_for_parts(monkeypatch, photos: Path, tmp_path: Path) -> None:
    monkeypatch.setattr("ticodec.batch.worker.GROUP_WIDTH", 0.0)  # every photo is coded alone
    job = Job("encode", str(photos), str(tmp_path / "out"), model="tiny", device="cpu")
    config = Worker(job).encoder.config
    small, large = (memory.needed(config, side, side) for side in (32, 160))
    job = Job(**{**vars(job), "parts": 9, "part": int(small) + 1})
    asked: list[int] = []
    worker = Worker(job, asked.append)
    assert [row.error for row in worker.run(items_of(photos))] == [""] * 12
    most = parts_for(job, large)
    assert 1 < most < 9
    # A small photo after a large one returns the parts.
    assert asked == [most, 1] * 5 + [most]
    assert torch.get_num_threads() == most
    torch.set_num_threads(1)


def test_effort_needs_more_parts(photos: Path, tmp_path: Path) -> None:
    job = Job("encode", str(photos), str(tmp_path), model="tiny", device="cpu", effort=2)
    enough = memory.needed(Worker(job).encoder.config, 32, 32)  # for effort 1
    asked: list[int] = []
    worker = Worker(replace(job, parts=9, part=int(enough) + 1), asked.append)
    (row,) = worker.run(items_of(photos)[:1])
    assert (row.error, asked) == ("", [2])
    torch.set_num_threads(1)


def test_workers_take_turns(photos: Path, tmp_path: Path) -> None:
    """Each photo of two workers needs both parts. All photos are encoded without a deadlock."""
    job = Job("encode", str(photos), str(tmp_path / "out"), model="tiny", device="cpu")
    job = Job(**{**vars(job), "parts": 2, "part": 60_000_000})
    engine = LocalEngine(job, 2)
    found = {row.file: row.status for row in engine.run(items_of(photos))}
    assert found == {path.name: "done" for path in photos.iterdir()}
    assert not engine.parts.held
    assert not engine.parts.waiting


def test_a_photo_that_takes_all_memory_is_not_refused_while_others_work(
    monkeypatch, run, photos: Path, tmp_path: Path
) -> None:
    """The free memory is checked when a photo is coded, not when it is read."""
    report = tmp_path / "report.json"
    words = ("batch", "encode", photos, tmp_path / "out", "-m", "tiny", "--device", "cpu", "-j", 2)
    assert run(*words, "--report", report).code == 0
    assert {row["status"] for row in rows(report).values()} == {"done"}
    job = Job("encode", str(photos), str(tmp_path / "again"), model="tiny", parts=2, part=1 << 30)
    worker = Worker(job)
    free = iter([0] * 4 + [8 * GIB] * 99)
    monkeypatch.setattr(memory, "available", lambda: next(free))
    assert worker.load(items_of(photos)[1]).picture is not None
