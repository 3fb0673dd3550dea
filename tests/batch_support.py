"""What the tests of batch runs share: trees of small photos, and looking at what came out."""

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

#: Seconds after which a test has hung. No test takes that long: they wait for events.
PATIENCE = 300
COMMAND = [sys.executable, "-m", "ticodec", "batch"]


def make_photos(folder: Path, names: list[str], side: int = 48) -> None:
    """A photo of numbers under each name, all different."""
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(make_pixels(side, side + seed % 5, seed))
        image.save(path, Image.registered_extensions()[path.suffix.lower()])


def tree(folder: Path) -> dict[str, bytes]:
    """All files below a folder, hidden ones too, with their bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def whole(folder: Path) -> list[str]:
    """Names of the .tic files below a folder, each of which is whole; nothing else is there."""
    found = tree(folder)
    for name, data in found.items():
        assert name.endswith(".tic"), name
        container.read(data)
    return sorted(found)


def without_origin(tic: bytes) -> bytes:
    """A .tic file of batch without what it says of its photo: as `encode` writes it."""
    file = container.read(tic)
    del file.sections[sections.numbers()["origin"]]
    return container.write(file)


def rows(report: Path) -> dict[str, dict]:
    """Rows of a report by file; JSON or CSV."""
    if report.suffix == ".json":
        listed = json.loads(report.read_text())["files"]
    else:
        with report.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            listed = list(csv.DictReader(file))
    found = {row["file"]: row for row in listed}
    assert len(found) == len(listed)
    return found


def summary(report: Path) -> dict:
    """Totals of a JSON report, which are those of its rows."""
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
    """A batch command as a process of its own."""
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, **options)


def children(pid: int, marked: bytes = b"spawn_main") -> list[int]:
    """Processes that a process started and whose command line has a mark.

    By default worker processes: not the tracker that multiprocessing starts beside them.
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
    """How many bytes a process has written, to files and pipes."""
    numbers = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(numbers["wchar"])


def wait_until(condition, process: subprocess.Popen | None = None) -> None:
    """Wait for something that has to happen, for as long as a busy machine may take.

    Args:
        process: what makes it happen; when it has ended, waiting is over at once.
    """
    end = time.monotonic() + PATIENCE
    while not condition():
        ended = process is not None and process.poll() is not None
        assert condition() or not ended, f"ended with {process.returncode} before it happened"
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def kill(pid: int) -> None:
    """kill -9."""
    os.kill(pid, signal.SIGKILL)
