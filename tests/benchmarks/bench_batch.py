"""Compares the speed of `ticodec batch`, of a shell loop of `ticodec encode`, and of the library.

    python tests/benchmarks/bench_batch.py run PHOTOS --count 500
    python tests/benchmarks/bench_batch.py groups PHOTOS

`run` times the three methods in turns on some of the photos. Then it copies all photos into a tree
of folders, encodes and decodes the tree by `batch`, and checks the result. `groups` times the
wavefront when several photos are coded together.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from ticodec import weights
from ticodec.image_files import list_images

COMMAND = [sys.executable, "-m", "ticodec"]
#: Encodes all files by the library in one process, which loads the network once.
#: Arguments: output folder, model, photos. Prints seconds.
LIBRARY = """
import sys, time
from pathlib import Path
import ticodec
codec = ticodec.load(sys.argv[2])
codec.encode(sys.argv[3])
started = time.perf_counter()
for path in sys.argv[3:]:
    Path(sys.argv[1], Path(path).stem + ".tic").write_bytes(codec.encode(path))
print(time.perf_counter() - started)
"""


def memory_of(pid: int) -> int:
    """Bytes of memory of a process and all its descendants. Shared memory counts once (PSS)."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                below.setdefault(parent, []).append(int(entry.name))
    total, waiting = 0, [pid]
    while waiting:
        process = waiting.pop()
        waiting += below.get(process, [])
        with contextlib.suppress(OSError, StopIteration):
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
            total += 1024 * int(next(n for n in lines if n.startswith("Pss:")).split()[1])
    return total


def batch(*arguments: object) -> tuple[float, int, dict]:
    """Run one batch command. Returns its seconds, its peak memory in bytes, and its totals."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [*COMMAND, "batch", *map(str, arguments), "--report", str(report)]
        started, peak = time.perf_counter(), 0
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        reader = threading.Thread(target=process.stderr.read)  # type: ignore[union-attr]
        reader.start()
        while process.poll() is None:
            peak = max(peak, memory_of(process.pid))
            time.sleep(0.25)
        reader.join()
        return time.perf_counter() - started, peak, json.loads(report.read_text())["summary"]


def names(folder: Path) -> list[str]:
    """Sorted paths of all files below a folder, relative to it and without suffixes."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in files)


def trees(photos: list[Path], work: Path, model: str) -> None:
    """Encode and decode a tree of photos, check that no file is missing, and print the speed."""
    for number, path in enumerate(photos):
        folder = work / "in" / f"{number % 10}" / f"{number % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, folder)
    for action, source, target in (("encode", "in", "tic"), ("decode", "tic", "png")):
        options = ["-m", model] if action == "encode" else []
        seconds, peak, total = batch(action, work / source, work / target, *options)
        assert total["done"] == total["files"] == len(photos), total
        assert names(work / source) == names(work / target)
        sizes = [
            sum(path.stat().st_size for path in (work / name).rglob("*") if path.is_file())
            for name in (source, target)
        ]
        assert sizes == [total["bytes_in"], total["bytes_out"]]
        print(
            f"{action}: {len(photos)} files, {total['pixels'] / 1e6:.1f} MP, {seconds:.1f} s, "
            f"{total['pixels'] / 1e6 / seconds:.2f} MP/s, {seconds / len(photos):.3f} s per file, "
            f"peak {peak / 2**20:.0f} MiB in all processes, {sizes[0]:,} → {sizes[1]:,} bytes"
        )
        again, _, total = batch(action, work / source, work / target, *options)
        assert total["skipped"] == len(photos)
        print(f"{action} again, nothing to do: {again:.1f} s")


def turns(photos: list[Path], work: Path, model: str, rounds: int) -> None:
    """Time the three methods in turns on the same photos, and print the medians.

    The shell loop encodes only a fifth of the photos, and its time is scaled up.
    """
    taken: dict[str, list[float]] = {"batch": [], "library": [], "shell loop": []}
    for number in range(rounds):
        (work / f"some{number}").mkdir()
        for path in photos:
            shutil.copy2(path, work / f"some{number}")
        source, target = work / f"some{number}", work / f"b{number}"
        taken["batch"].append(batch("encode", source, target, "-m", model)[0])
        (work / f"l{number}").mkdir()
        done = subprocess.run(
            [sys.executable, "-c", LIBRARY, work / f"l{number}", model, *photos],
            capture_output=True,
            check=True,
        )
        taken["library"].append(float(done.stdout))
        (work / f"s{number}").mkdir()
        few = photos[: max(1, len(photos) // 5)]
        started = time.perf_counter()
        for path in few:
            target = work / f"s{number}" / f"{path.stem}.tic"
            command = [*COMMAND, "encode", str(path), str(target), "-m", model, "--quiet"]
            subprocess.run(command, check=True)
        taken["shell loop"].append((time.perf_counter() - started) * len(photos) / len(few))
    base = statistics.median(taken["batch"])
    for name, seconds in taken.items():
        one = statistics.median(seconds) / len(photos)
        ratio = statistics.median(seconds) / base
        print(
            f"{name}: {one:.3f} s per file, {ratio:.2f} × batch ({len(photos)} files; the time to "
            "start batch is included)"
        )


def groups(photos: list[Path], model: str | None, rounds: int) -> None:
    """Time the wavefront for groups of 1, 2, 4 and 8 photos on one thread."""
    import torch

    import ticodec
    from ticodec.inputs import as_picture

    torch.set_num_threads(1)
    codec = ticodec.load(model)
    pictures = [as_picture(path) for path in photos[:8]]
    stored = codec.stored_quality(None)
    latents = [codec.scaled(codec.features(picture.pixels), stored) for picture in pictures]
    opened = codec.containers(pictures)
    count = len(pictures)
    taken: dict[int, list[tuple[float, float]]] = {1: [], 2: [], 4: [], 8: []}
    for _ in range(rounds):
        for size, times in taken.items():
            started = time.perf_counter()
            for at in range(0, count, size):
                codec.entropy.encode_many(latents[at : at + size])
            middle = time.perf_counter()
            for at in range(0, count, size):
                codec.latents_many(opened[at : at + size])
            ended = time.perf_counter()
            times.append(((middle - started) / count, (ended - middle) / count))
    for size, times in taken.items():
        encode, decode = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"{size:2} together: encode {encode:.3f} s, decode {decode:.3f} s per photo")


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("what", choices=("run", "groups"))
    options.add_argument("photos", type=Path, help="folder of photos")
    options.add_argument("-m", "--model", help="default: the default model")
    options.add_argument("--count", type=int, default=500, help="number of photos to use")
    options.add_argument("--some", type=int, default=40, help="number to compare the methods on")
    options.add_argument("--rounds", type=int, default=3, help="how often each method runs")
    return options


def main(words: list[str] | None = None) -> None:
    """Measure and print the figures, one per line."""
    options = parser().parse_args(words)
    photos = list_images(options.photos)
    photos = photos[:: max(1, len(photos) // options.count)][: options.count]
    if options.what == "groups":
        groups(photos, options.model, options.rounds)
        return
    model = weights.find(options.model).name
    print(f"{len(os.sched_getaffinity(0))} cores, {model}")
    with tempfile.TemporaryDirectory() as folder:
        turns(photos[: options.some], Path(folder), model, options.rounds)
        trees(photos, Path(folder), model)


if __name__ == "__main__":
    main()
