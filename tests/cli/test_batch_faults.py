"""Batch runs lose nothing when they are killed, or meet full disks, read-only disks, bad files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest
from batch_support import (
    COMMAND,
    PATIENCE,
    bytes_written,
    children,
    kill,
    make_photos,
    rows,
    start,
    summary,
    tree,
    wait_until,
    whole,
)
from PIL import Image
from support import make_pixels

from ticodec.batch.local import LocalEngine
from ticodec.batch.messages import Item, Job
from ticodec.errors import TicodecError


def outputs(folder: Path) -> int:
    return sum(1 for path in folder.rglob("*.tic")) if folder.exists() else 0


def test_a_killed_run_leaves_complete_files_and_the_same_command_resumes(tmp_path: Path):
    source, target, report = tmp_path / "in", tmp_path / "out", tmp_path / "report.json"
    make_photos(source, [f"{n % 7}/{n}.png" for n in range(40)], 120)
    before = tree(source)
    arguments = ("encode", source, target, "-m", "tiny", "--jobs", 2, "--report", report)
    first = start(*arguments)
    wait_until(lambda: outputs(target) >= 3, first)
    workers = children(first.pid)
    kill(first.pid)
    first.wait()
    assert workers
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    # A file that was being written is hidden, and the next run deletes it.
    found = {name for name in tree(target) if not Path(name).name.startswith(".")}
    assert 3 <= len(found) < 40
    (target / ".ticodec-left.part").write_bytes(b"as if killed while writing")
    again = start(*arguments)
    assert again.wait(PATIENCE) == 0, again.stderr.read()
    total = summary(report)
    assert total["skipped"] == len(found)
    assert total["done"] == 40 - len(found)
    assert whole(target) == sorted(name.replace(".png", ".tic") for name in before)
    assert tree(source) == before


def test_files_of_a_killed_worker_are_retried_in_the_same_run(tmp_path: Path):
    source, target, report = tmp_path / "in", tmp_path / "out", tmp_path / "report.json"
    make_photos(source, [f"{n}.png" for n in range(80)], 120)
    run = start("encode", source, target, "-m", "tiny", "--jobs", 2, "--report", report)
    wait_until(lambda: outputs(target) >= 2, run)
    # Kill the worker that has written most: the other one may still be starting without a file.
    kill(max(children(run.pid), key=bytes_written))
    (target / ".ticodec-left.part").write_bytes(b"as if killed while writing")
    assert run.wait(PATIENCE) == 0, run.stderr.read()
    total = summary(report)
    assert total["done"] == 80
    assert 1 <= total["retried"] <= 16
    assert sum(row["retried"] for row in rows(report).values()) == total["retried"]
    assert len(whole(target)) == 80
    assert b"second try" in run.stdout.read()


def test_a_file_that_kills_its_worker_twice_fails_alone(tmp_path: Path):
    make_photos(tmp_path / "in", ["good.png"])
    Image.fromarray(make_pixels(1500, 1500)).save(tmp_path / "in" / "large.png")
    (tmp_path / "out").mkdir()
    job = Job("encode", str(tmp_path / "in"), str(tmp_path / "out"), model="tiny", device="cpu")
    engine = LocalEngine(job, 1)
    found, killed = [], set()

    def kill_whoever_has_it() -> None:
        while not done.is_set():
            for worker in list(engine.workers):
                pid = worker.process.pid
                if worker.begun and "large.png" in worker.items and pid not in killed:
                    killed.add(pid)
                    kill(pid)
            done.wait(0.01)

    done = threading.Event()
    thread = threading.Thread(target=kill_whoever_has_it)
    thread.start()
    try:
        items = [Item("large.png", "large.tic"), Item("good.png", "good.tic")]
        found = list(engine.run(items))
    finally:
        done.set()
        thread.join()
    by_name = {row.file: row for row in found}
    assert by_name["large.png"].status == "failed"
    assert "died twice with this file: killed by signal 9" in by_name["large.png"].error
    assert by_name["good.png"].status == "done"
    assert len(killed) == 2
    assert whole(tmp_path / "out") == ["good.tic"]


def test_workers_that_cannot_start_end_the_run_with_one_line(tmp_path: Path):
    make_photos(tmp_path, ["a.png"])
    job = Job("encode", str(tmp_path), str(tmp_path), model="tiny", weights="00000000")
    with pytest.raises(TicodecError, match="differ on this machine"):
        list(LocalEngine(job, 1).run([Item("a.png", "a.tic")]))


def in_namespace(script: str, *arguments: object) -> subprocess.CompletedProcess:
    """Run a shell script in a namespace where it may mount file systems."""
    command = ["unshare", "-rm", "sh", "-ec", script, "sh", *map(str, arguments)]
    environment = os.environ | {"BATCH": " ".join(COMMAND)}
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=PATIENCE
    )


@pytest.fixture(scope="module")
def mounts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips a test unless this system lets users mount a tmpfs in a namespace of their own."""
    try:
        tried = in_namespace('mount -t tmpfs none "$1"', tmp_path_factory.mktemp("mount"))
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if tried.returncode:
        pytest.skip(f"no tmpfs in a namespace of its own: {tried.stderr.strip()}")


def test_a_full_disk_stops_the_run_and_the_same_command_resumes(tmp_path: Path, mounts: None):
    source, target = tmp_path / "in", tmp_path / "out"
    make_photos(source, [f"{n:02d}.png" for n in range(30)], 120)
    target.mkdir()
    script = """
        mount -t tmpfs -o size=40k tmpfs "$2"
        run() { $BATCH encode "$1" "$2" -m tiny --jobs 1 --quiet --report "$3"; }
        run "$1" "$2" "$3/full.json" || echo "exit $?"
        mkdir "$3/first"; cp -a "$2/." "$3/first"
        mount -o remount,size=4m "$2"
        run "$1" "$2" "$3/again.json"
        mkdir "$3/second"; cp -a "$2/." "$3/second"
    """
    done = in_namespace(script, source, target, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "exit 1\n"
    assert "No space left" in done.stderr
    first = summary(tmp_path / "full.json")
    assert first["done"] == len(whole(tmp_path / "first")) > 0
    assert first["failed"] > 0
    assert first["left"] > 0
    again = summary(tmp_path / "again.json")
    assert (again["skipped"], again["done"]) == (first["done"], 30 - first["done"])
    assert len(whole(tmp_path / "second")) == 30


def test_a_read_only_target_is_refused_before_any_work(tmp_path: Path, mounts: None):
    source, target = tmp_path / "in", tmp_path / "out"
    make_photos(source, ["a.png"])
    target.mkdir()
    script = 'mount -t tmpfs -o ro tmpfs "$2"; $BATCH encode "$1" "$2" -m tiny'
    done = in_namespace(script, source, target)
    assert done.returncode == 1
    assert done.stderr == f"ticodec: {target}: cannot be written: Read-only file system\n"


def test_only_the_files_of_a_folder_that_cannot_be_made_fail(tmp_path: Path, run):
    source, target, report = tmp_path / "in", tmp_path / "out", tmp_path / "report.csv"
    make_photos(source, ["a.png", "sub/b.png"])
    target.mkdir()
    (target / "sub").write_text("in the way")
    done = run("batch", "encode", source, target, "-m", "tiny", "-j", 1, "--report", report)
    assert done.code == 1
    found = rows(report)
    assert found["a.png"]["status"] == "done"
    assert found["sub/b.png"]["status"] == "failed"
    assert "cannot make the folder" in found["sub/b.png"]["error"]


def test_of_200_files_only_the_20_corrupt_ones_fail(tmp_path: Path, run):
    source, target, report = tmp_path / "in", tmp_path / "out", tmp_path / "report.json"
    names = [f"{n % 9}/{n:03d}.png" for n in range(200)]
    make_photos(source, names, 24)
    bad = names[5::10]
    assert len(bad) == 20
    bomb = b"P6 100000 100000 255 "
    for number, name in enumerate(bad):
        path = source / name
        data = path.read_bytes()
        flipped = data[:60] + bytes(b ^ 0x55 for b in data[60:90]) + data[90:]
        kinds = [b"", data[: len(data) // 2], b"no image at all", flipped, bomb, data[:8]]
        path.write_bytes(kinds[number % len(kinds)])
    done = run("batch", "encode", source, target, "-m", "tiny", "--jobs", 2, "--report", report)
    assert done.code == 1
    total = summary(report)
    assert (total["done"], total["failed"]) == (180, 20)
    found = rows(report)
    assert sorted(name for name in names if found[name]["status"] == "failed") == sorted(bad)
    assert all(found[name]["error"] for name in bad)
    assert len(whole(target)) == 180
    assert "Traceback" not in done.err
    assert done.err.splitlines()[-1] == "ticodec: 20 of 200 files not encoded"


def test_a_failure_is_printed_immediately_and_again_in_the_summary(tmp_path: Path, run):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.png").write_bytes(b"no image at all")
    for options, outs in ((), 1), (("--quiet",), 0), (("--json",), 1):
        done = run("batch", "encode", tmp_path / "in", tmp_path / "out", "-m", "tiny", *options)
        reason = "not an image that Pillow can read"
        assert (done.code, done.err.count(reason), done.out.count(reason)) == (1, 1, outs)


def test_ctrl_c_keeps_finished_files_and_says_so(tmp_path: Path):
    source, target, report = tmp_path / "in", tmp_path / "out", tmp_path / "report.json"
    make_photos(source, [f"{n}.png" for n in range(40)], 120)
    run = start("encode", source, target, "-m", "tiny", "--jobs", 2, "--report", report)
    wait_until(lambda: outputs(target) >= 2, run)
    run.send_signal(signal.SIGINT)
    assert run.wait(PATIENCE) == 130
    total = summary(report)
    assert total["done"] + total["left"] == 40
    assert total["done"] <= len(whole(target)) < 40
    assert "run the same command again to go on" in run.stderr.read().decode().splitlines()[-1]


def test_files_of_another_model_keep_their_photos(tmp_path: Path, run, joint):
    """The message says what to do: go on with that model, or overwrite the files."""
    source, target, report = tmp_path / "in", tmp_path / "out", tmp_path / "r.json"
    make_photos(source, ["a.png"], 96)
    deleting = ("batch", "encode", source, target, "--delete-source-after-verify", "-j", 1)
    assert run("batch", "encode", source, target, "-m", "joint", "-q", 3).code == 0
    before = tree(source), tree(target)
    assert run(*deleting, "-m", "tiny", "--report", report).code == 1
    (row,) = json.loads(report.read_text())["files"]
    assert row["error"] == (
        "a.tic exists, but was written by joint; -m joint keeps it, -f overwrites it"
    )
    assert (tree(source), tree(target)) == before
