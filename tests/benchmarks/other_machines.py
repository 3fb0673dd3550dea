"""Checks that the C extension gives the same bits on other processors, under an emulator.

Codes latents on the torch path, which is the reference, and with the C extension, whose calls are
recorded. Then the calls are repeated with each instruction set of this processor, and with the
extension compiled for other processors under QEMU. All streams, symbols and latents must be the
same. The exit code is 1 if any of them differs.

    python tests/benchmarks/other_machines.py --root FOLDER [--machines aarch64,s390x]
    python tests/benchmarks/other_machines.py --here [--cases golden] [--flags=-ffast-math]

Debian's Python for each other machine is downloaded into FOLDER (about 60 MB each) if it is not
there. `--here` tries this processor only and needs no FOLDER. `--flags` adds compiler flags to the
extension that repeats the calls: with -ffast-math the bits must differ, with -O0 they must not.
"""

from __future__ import annotations

import argparse
import json
import pickle
import platform
import subprocess as processes
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from fuzz_native import load
from machines import build, replay
from machines.cases import CASES, Case
from machines.record import Recorder, path

REPLAY = Path(replay.__file__)
THREADS = (1, 2)
#: Parts of the exact path, each with a function of the extension that only this part calls.
PARTS = {"h_s": "synthesis", "wavefront": "wavefront", "rANS": "finish"}
#: What differs, for each job and instruction set. "" means that nothing differs.
Found = list[dict[str, str]]


class Runner(NamedTuple):
    """A Python that can repeat jobs: its machine, the command that starts it, its extension."""

    machine: str
    command: list[Any]
    extension: Path

    def run(self, jobs: Path) -> Found:
        words = [*self.command, "-I", "-S", REPLAY, self.extension, jobs]
        done = processes.run(words, stdout=processes.PIPE, text=True, check=True)
        return json.loads(done.stdout)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    where = made.add_mutually_exclusive_group(required=True)
    where.add_argument("--root", type=Path, help="folder for the Python of other machines")
    where.add_argument("--here", action="store_true", help="try this processor only")
    made.add_argument("--machines", default=",".join(build.MACHINES), help="other machines to try")
    made.add_argument("--cases", default=",".join(CASES), help="cases to code")
    made.add_argument("--flags", default="", help="additional compiler flags")
    made.add_argument("--python", default="3.11", help="version of Debian's Python")
    return made


def some(names: str, known: dict[str, Any]) -> list[Any]:
    """The values of a dictionary whose keys are listed, separated by commas, in `names`."""
    unknown = [name for name in names.split(",") if name not in known]
    if unknown:
        raise SystemExit(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    return [known[name] for name in names.split(",")]


def record(case: Case, module: Any, blobs: list[bytes]) -> tuple[list[dict[str, Any]], str]:
    """The jobs of a case, one for each number of threads, and what differs from the torch path."""
    with path(None):
        streams, decoded = case.code()
    jobs, differs = [], ""
    if case.files not in (None, streams):
        differs = "torch writes other streams than those of the golden files"
    count = torch.get_num_threads()
    for threads in THREADS:
        recorder = Recorder(module, blobs)
        torch.set_num_threads(threads)
        with path(recorder):
            ours, again = case.code()
        torch.set_num_threads(count)
        pairs = list(zip(decoded, again, strict=True))
        if ours != streams:
            differs = "C and torch write different streams"
        elif any(a.symbols != b.symbols or not torch.equal(a.y_hat, b.y_hat) for a, b in pairs):
            differs = "C and torch decode differently"
        jobs.append(recorder.job())
    return jobs, differs


def compared(job: dict[str, Any], blobs: list[bytes]) -> str:
    """Which parts of a job run in C, how many bytes they return, how many numbers they change."""
    parts = [part for part, name in PARTS.items() if name in {call[0] for call in job["calls"]}]
    returned = [value for *_, (_, value) in job["calls"] if isinstance(value, bytes)]
    numbers = sum(
        len(blobs[after]) // {"h": 2, "H": 2, "i": 4, "f": 4}.get(code, 8)
        for code, before, after in job["arrays"]
        if before != after
    )
    streams = sum(map(len, returned))
    return f"{', '.join(parts)}: {streams:,} bytes of streams, {numbers:,} numbers"


def prepare(machine: build.Machine, arguments: argparse.Namespace, folder: Path) -> Runner:
    """Fetch the Python of another machine, and compile the extension for it."""
    if lacking := build.missing(machine):
        raise SystemExit(f"{machine.name} needs: {lacking}")
    root = arguments.root.resolve() / machine.name
    build.fetch(machine, root, arguments.python)
    include = root / "usr" / "include"
    name = f"python{arguments.python}"
    extension = build.compile_extension(
        folder / f"{machine.name}.so",
        machine.compiler,
        [include / name, include],
        arguments.flags.split(),
    )
    command = [machine.emulator, "-L", root, root / "usr" / "bin" / name]
    return Runner(machine.name, command, extension)


def columns(title: str, found: Found) -> dict[str, list[str]]:
    """What differs for each job, by the heading of the table's column."""
    return {f"{title} {name}": [job[name] for job in found] for name in found[0]}


def table(names: list[str], sizes: list[str], cells: dict[str, list[str]]) -> bool:
    """Print a row for each case. Returns whether nothing differs."""
    heads = ["coded", "compared (parts that run in C)", *cells]
    print(f"| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    same = True
    for row, (name, what) in enumerate(zip(names, sizes, strict=True)):
        words = []
        for found in cells.values():
            part = found[row * len(THREADS) : (row + 1) * len(THREADS)]
            differing = [text for text in part if text]
            same = same and not differing
            words.append(f"differs: {differing[0]}" if differing else "the same")
        print(f"| {name} | {what} | {' | '.join(words)} |")
    return same


def main(words: list[str] | None = None) -> None:
    arguments = parser().parse_args(words)
    machines = [] if arguments.here else some(arguments.machines, build.MACHINES)
    makers = some(arguments.cases, CASES)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        here, more = [Path(sysconfig.get_paths()["include"])], arguments.flags.split()
        module = load(build.compile_extension(folder / "recorded.so", "gcc", here, []))
        extension = build.compile_extension(folder / "repeated.so", "gcc", here, more)
        runners = [Runner(platform.machine(), [sys.executable], extension)]
        runners += [prepare(machine, arguments, folder) for machine in machines]
        names, sizes, recorded = [], [], []
        blobs: list[bytes] = []
        jobs: list[dict[str, Any]] = []
        for case in (case for maker in makers for case in maker()):
            of_case, differs = record(case, module, blobs)
            names.append(case.name)
            sizes.append(compared(of_case[0], blobs))
            recorded += [differs] * len(THREADS)
            jobs += of_case
        file = folder / "jobs.pickle"
        file.write_bytes(pickle.dumps((blobs, jobs)))
        cells: dict[str, list[str]] = {f"{platform.machine()} torch": recorded}
        for runner in runners:
            cells |= columns(runner.machine, runner.run(file))
    same = table(names, sizes, cells)
    tools = ["gcc", *(tool for one in machines for tool in (one.compiler, one.emulator))]
    print("\n" + "\n".join(dict.fromkeys(map(build.version, tools))))
    refused = {None: "not tried", True: "refused by layers.h, as it must be", False: "accepted!"}
    x87 = build.refuses_x87()
    print(f"32-bit x87: {refused[x87]}")
    if x87 is False or not same:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
