"""A file that another program makes while a command runs is never replaced.

It may be all that is left of a photo.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from batch_support import make_photos, rows, tree
from PIL import Image

import ticodec
from ticodec.batch.existing import sift
from ticodec.batch.messages import Item, Job
from ticodec.batch.plan import make_plan
from ticodec.batch.worker import Worker
from ticodec.errors import TicodecError
from ticodec.files import write_file

DELETE = "--delete-source-after-verify"


def planned(job: Job) -> list[Item]:
    """The files that a run of this job would process."""
    found = list(sift(job, make_plan(job, [], []).items, skip=True))
    assert all(isinstance(item, Item) for item in found)
    return found


def test_photos_of_equal_stems_in_one_folder_and_a_link_to_it(tmp_path: Path, run) -> None:
    source, target, report = tmp_path / "in", tmp_path / "out", tmp_path / "r.json"
    make_photos(source, ["x/a.png", "y/a.png"], side=96)
    photos = [Image.open(source / name).copy() for name in ("x/a.png", "y/a.png")]
    (target / "y").mkdir(parents=True)
    (target / "x").symlink_to("y")
    words = ("batch", "encode", source, target, "-m", "tiny", "-q", 8, "-j", 1, DELETE)
    assert run(*words, "--report", report).code == 1
    found = rows(report)
    assert [found[name]["deleted"] for name in ("x/a.png", "y/a.png")] == [True, False]
    assert "y/a.tic was written by something else" in found["y/a.png"]["error"]
    assert list(tree(source)) == ["y/a.png"]
    assert run(*words).code == 0
    assert not tree(source)
    assert sorted(tree(target)) == ["y/a.png.tic", "y/a.tic"]
    for photo, name in zip(photos, ("y/a.tic", "y/a.png.tic"), strict=True):
        assert ticodec.decode(target / name).size == photo.size


@pytest.mark.parametrize("there", [False, True])
def test_two_simultaneous_runs_with_photos_of_one_name(tmp_path: Path, there: bool) -> None:
    target = tmp_path / "out"
    target.mkdir()
    if there:
        (target / "a.tic").write_bytes(b"")  # a file that any run may replace
    runs = []
    for side, name in ((96, "one"), (128, "two")):
        make_photos(tmp_path / name, ["a.png"], side)
        source = str(tmp_path / name)
        runs.append(Job("encode", source, str(target), model="tiny", quality=8, delete_source=True))
    todo = [planned(job) for job in runs]
    (first,), (second,) = (
        list(Worker(job).run(todo)) for job, todo in zip(runs, todo, strict=True)
    )
    assert first.deleted, first.error
    assert (second.status, second.deleted) == ("failed", False)
    assert "a.tic was written by something else meanwhile, so it stays" in second.error
    assert ticodec.decode(target / "a.tic").size == (96, 96)
    assert (tmp_path / "two" / "a.png").exists()


def test_a_file_that_a_worker_wrote_before_it_died_counts_as_done(tmp_path: Path) -> None:
    make_photos(tmp_path / "in", ["a.png"])
    job = Job("encode", str(tmp_path / "in"), str(tmp_path / "out"), model="tiny")
    todo = planned(job)
    for _ in range(2):
        (row,) = Worker(job).run(todo)
        assert row.status == "done", row.error


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_a_file_that_appears_while_a_command_runs(
    photo: Path, encoded: Path, tmp_path: Path, run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    target = tmp_path / ("new.tic" if command == "encode" else "new.png")
    source, more = (photo, ("-m", "tiny")) if command == "encode" else (encoded, ())
    from ticodec import api

    def loaded(*arguments: object, **options: object) -> object:
        target.write_bytes(b"of somebody else")
        return load(*arguments, **options)

    load = api.loaded
    monkeypatch.setattr(api, "loaded", loaded)
    failed = run(command, source, target, *more)
    failed.fails(1, "another program made this file in the meantime, so it is not replaced")
    assert target.read_bytes() == b"of somebody else"
    assert run(command, source, target, *more, "-f").code == 0
    assert target.read_bytes() != b"of somebody else"


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "a"
    write_file(path, b"first", new=True)
    with pytest.raises(TicodecError, match="another program"):
        write_file(path, b"second", new=True)
    assert tree(tmp_path) == {"a": b"first"}


def test_no_source_is_deleted_if_outputs_vanish_with_the_run(tmp_path: Path, run) -> None:
    make_photos(tmp_path / "in", ["a.png"])
    words = ("batch", "encode", tmp_path / "in", "memory://gone", "-m", "tiny", "-q", 8)
    run(*words, DELETE).fails(2, "memory://gone does not outlive the run")
    assert list(tree(tmp_path / "in")) == ["a.png"]
    assert run(*words).code == 0
