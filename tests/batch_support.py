"""Helpers of the tests of batch runs: they make trees of small photos and read the results."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image
from support import make_pixels

from ticodec import container, sections

#: Seconds until a wait is given up because the test must have hung. No passing test takes so long.
PATIENCE = 300
COMMAND = [sys.executable, "-m", "ticodec", "batch"]


def make_photos(folder: Path, names: list[str], side: int = 48) -> None:
    """Write one generated photo under each name. No two photos are alike."""
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(make_pixels(side, side + seed % 5, seed))
        image.save(path, Image.registered_extensions()[path.suffix.lower()])


def tree(folder: Path) -> dict[str, bytes]:
    """Bytes of all files below a folder, hidden files too, by path relative to the folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def whole(folder: Path) -> list[str]:
    """Sorted names of the .tic files below a folder.

    Asserts that each file is complete and that there are no other files.
    """
    found = tree(folder)
    for name, data in found.items():
        assert name.endswith(".tic"), name
        container.read(data)
    return sorted(found)


def without_origin(tic: bytes) -> bytes:
    """A .tic file of a batch run without the section about its photo, as `encode` writes it."""
    file = container.read(tic)
    del file.sections[sections.numbers()["origin"]]
    return container.write(file)


def rows(report: Path) -> dict[str, dict]:
    """Rows of a JSON or CSV report, by file."""
    if report.suffix == ".json":
        listed = json.loads(report.read_text())["files"]
    else:
        with report.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            listed = list(csv.DictReader(file))
    found = {row["file"]: row for row in listed}
    assert len(found) == len(listed)
    return found


def summary(report: Path) -> dict:
    """Totals of a JSON report. Asserts that they are the totals of its rows."""
    found = json.loads(report.read_text())
    total, files = found["summary"], found["files"]
    counted = {s: sum(row["status"] == s for row in files) for s in ("done", "failed", "skipped")}
    assert counted == {name: total[name] for name in counted}
    kept = [row for row in files if row["status"] in ("done", "skipped")]
    for name in ("bytes_in", "bytes_out"):
        assert total[name] == sum(row[name] for row in kept)
    assert total["files"] == len(files)
    return total


def start(*arguments: object, **options) -> subprocess.Popen:
    """Start a batch command in a process of its own."""
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, **options)


def children(pid: int, marked: bytes = b"spawn_main") -> list[int]:
    """Ids of a process's children whose command line contains `marked`.

    By default these are worker processes, without the tracker that multiprocessing also starts.
    """
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if parent == pid and marked in line:
                found.append(int(entry.name))
    return found


def bytes_written(pid: int) -> int:
    """Number of bytes that a process has written to files and pipes."""
    numbers = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(numbers["wchar"])


def wait_until(condition, process: subprocess.Popen | None = None) -> None:
    """Wait until a condition holds, for as long as a busy machine may take.

    Args:
        condition: a function that returns whether it holds.
        process: the process that brings it about. Waiting ends as soon as this process has ended.
    """
    end = time.monotonic() + PATIENCE
    while not condition():
        ended = process is not None and process.poll() is not None
        assert condition() or not ended, f"ended with {process.returncode} before it happened"
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def kill(pid: int) -> None:
    """End a process as `kill -9` does."""
    os.kill(pid, signal.SIGKILL)
