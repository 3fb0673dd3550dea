"""Every script of tests/benchmarks/ and docs/tools/ runs on toy weights.

So every figure and picture of the documents can be made again. Arguments make the scripts' work
small. Commands that they would start as processes run in the process of the tests.

The command lines of scripts that documents and scripts quote are parsed.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import multiprocessing.dummy
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest
from PIL import Image
from support import GOLDEN, ROOT, SMALL, make_pixels
from toys import write_toys

SCRIPTS = sorted([*ROOT.glob("tests/benchmarks/*.py"), *ROOT.glob("docs/tools/*.py")])
NAMES = [path.relative_to(ROOT).as_posix() for path in SCRIPTS]


class Call(NamedTuple):
    """Arguments of a script, and what it then makes: a file, or text that it prints."""

    words: list[object]
    gives: Path | str


def bench_batch(files: SimpleNamespace) -> list[Call]:
    some = ["-m", "tiny", "--count", 2, "--some", 1, "--rounds", 1]
    return [
        Call(["run", files.photos, *some], "decode again, nothing to do"),
        Call(["groups", files.photos, *some], "8 together: encode"),
    ]


def bench_codec(files: SimpleNamespace) -> list[Call]:
    some = ["--image", files.photo, "--repeats", 1, "--threads", 1, "--types", "fp32"]
    peer = "mbt2018" if find_spec("compressai") else ""  # some Pythons cannot have it
    return [
        Call(
            [*some, "--models", "tiny", "--peers", "", "--cold", "--json", files.out / "n.json"],
            files.out / "n.json",
        ),
        Call([*some, "--models", "joint", "--peers", ""], "decode wavefront"),
        Call(
            [*some, "--models", "unknown", "--peers", peer], f"{peer} decode" if peer else "unknown"
        ),
    ]


def bench_engines(files: SimpleNamespace) -> list[Call]:
    """Runs the engines that need no other package. "modules" must equal the modules: 100 dB."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the script reads peaks of memory from files that only Linux has")
    some = ["--image", files.photo, "--models", "tiny", "--repeats", 1, "--threads", 1]
    names = [*some, "--parts", "g_s", "--engines"]
    return [
        Call([*names, "ticodec"], "| ticodec bf16 |"),
        Call([*names, "modules"], "| 100.0 |"),
    ]


def bench_gradient(files: SimpleNamespace) -> list[Call]:
    """Times gradients of the toy network in both types."""
    return [Call([files.photo, "--models", "tiny", "--rounds", 1], "| tiny | ticodec bf16 |")]


def bench_sizes(files: SimpleNamespace) -> list[Call]:
    if not hasattr(os, "wait4"):
        pytest.skip("the script measures memory with a function that only Unix has")
    return [Call([files.photo, "--models", "tiny", "--sizes", "70x40"], "| 70×40 | 0.0028 |")]


def bench_targets(files: SimpleNamespace) -> list[Call]:
    some = ["--model", "tiny", "--targets", "bpp=1.5,psnr=90", "--commands", 1]
    return [Call([files.photos, *some], "| 90 dB PSNR | 0 of 2 |")]


def bench_training(files: SimpleNamespace) -> list[Call]:
    some = ["--crop", 64, "--batch", 1, "--steps", 1, "--rounds", 1, "--device", "cpu"]
    return [
        Call(["--model", "tic-lite", *some, "--optimizer", "muon"], "of the matrix rate"),
    ]


def cost_of_exactness(files: SimpleNamespace) -> list[Call]:
    return [Call([files.photos, "--quality", "1", "--model", "tiny"], "| 1 | ")]


def flops_classify(files: SimpleNamespace) -> list[Call]:
    return [Call(["--side", 32, "--models", "tic-lite,icat-lite"], "icat-lite")]


def fuzz_native(files: SimpleNamespace) -> list[Call]:
    """Uses the sanitizers if gcc has them."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is missing")
    plain = [] if importlib.import_module("fuzz_native").sanitizer() else ["--plain"]
    return [Call(["--count", 2000, *plain], "2,000 mutations: 0 findings")]


def large_images(files: SimpleNamespace) -> list[Call]:
    return [
        Call(["accuracy", files.classes, "-m", "joint", "-q", 1, "--count", 1], "896 px, 1 images"),
        Call(["tiles", files.photos, "-m", "joint"], "quality 3: tiles of"),
    ]


def other_machines(files: SimpleNamespace) -> list[Call]:
    """Tries this processor only, because cross compilers and emulators may be missing."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is missing")
    return [Call(["--here", "--cases", "golden"], "| the same | the same |")]


def demo(files: SimpleNamespace) -> list[Call]:
    words = ["--image", files.photo, "--model", "tiny", "--quality", "5", "--out", files.out]
    return [Call(words, files.out / "side-by-side.png")]


def labels(files: SimpleNamespace) -> list[Call]:
    words = [files.photo, "--out", files.out / "labels.png", "-q", 2, "-m", "joint"]
    return [Call(words, files.out / "labels.png")]


def screenshot(files: SimpleNamespace) -> list[Call]:
    page = files.out / "page.html"
    code = files.run(
        "compare", files.photo, page, "-m", "tiny", "--against", "jpeg", "--quiet"
    ).code
    assert code == 0
    return [Call([page, files.out / "page.jpg"], files.out / "page.jpg")]


def worst(files: SimpleNamespace) -> list[Call]:
    out = files.out / "worst"
    words = [files.photos, "--held-out", "-m", "tiny", "-q", "1,3", "--out", out]
    return [Call(words, out / "0.jpg"), Call(words, "0: ")]


def preview(files: SimpleNamespace) -> list[Call]:
    store = shutil.copytree(GOLDEN / "weights", files.out / "store")
    file = store / "tiny-preview.safetensors"
    file.unlink()
    fit = ["fit", files.photos, "--model", "tiny", "--folder", store, "--groups", 1, "--crop", 64]
    return [
        Call(["measure", files.photos, "--models", "tiny", "-q", "2,9"], "| `tiny` | 1/8 | "),
        Call(fit, file),
    ]


CALLS: dict[str, Callable[[SimpleNamespace], list[Call]]] = {
    "tests/benchmarks/bench_batch.py": bench_batch,
    "tests/benchmarks/bench_codec.py": bench_codec,
    "tests/benchmarks/bench_engines.py": bench_engines,
    "tests/benchmarks/bench_gradient.py": bench_gradient,
    "tests/benchmarks/bench_sizes.py": bench_sizes,
    "tests/benchmarks/bench_targets.py": bench_targets,
    "tests/benchmarks/bench_training.py": bench_training,
    "tests/benchmarks/cost_of_exactness.py": cost_of_exactness,
    "tests/benchmarks/flops_classify.py": flops_classify,
    "tests/benchmarks/fuzz_native.py": fuzz_native,
    "tests/benchmarks/large_images.py": large_images,
    "tests/benchmarks/preview.py": preview,
    "tests/benchmarks/other_machines.py": other_machines,
    "docs/tools/demo.py": demo,
    "docs/tools/labels.py": labels,
    "docs/tools/screenshot.py": screenshot,
    "docs/tools/worst.py": worst,
}


@pytest.fixture
def files(tmp_path: Path, run, joint) -> SimpleNamespace:
    """Small photos, a folder to write to, and the command. The weights "joint" are installed."""
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    out.mkdir()
    for seed in range(2):
        Image.fromarray(make_pixels(64, 96, seed)).save(photos / f"{seed}.png")
    classes = write_toys(tmp_path / "classes", 1, ("ant", "bee", "cow"))
    return SimpleNamespace(photos=photos, photo=photos / "0.png", classes=classes, out=out, run=run)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, run) -> Callable[[Path], ModuleType]:
    """A function that imports a script by its path. Commands that it starts run in this process."""

    def load(path: Path) -> ModuleType:
        monkeypatch.syspath_prepend(str(path.parent))  # worker processes get it too
        module = importlib.import_module(path.stem)
        if hasattr(module, "subprocess"):
            monkeypatch.setattr(module, "subprocess", Here(run))
        return module

    return load


class Here:
    """Replaces the module `subprocess`. Runs `python -m ticodec …` and `python -c …` here."""

    PIPE, DEVNULL = subprocess.PIPE, subprocess.DEVNULL

    def __init__(self, command: Callable[..., Any]) -> None:
        self.command = command

    def run(self, words: list[object], **options: Any) -> subprocess.CompletedProcess:
        python, how, what, *more = words
        assert python == sys.executable
        if how == "-c":
            printed = io.StringIO()
            with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
                patch.setattr(sys, "argv", ["-c", *map(str, more)])
                exec(str(what), {})
            return subprocess.CompletedProcess(words, 0, printed.getvalue())
        assert (how, what) == ("-m", "ticodec")
        done = self.command(*more)
        assert done.code == 0, done.err
        return subprocess.CompletedProcess(words, done.code, done.out, done.err)

    def Popen(self, words: list[object], **options: Any) -> SimpleNamespace:
        """A process that has ended, although its first `poll` says that it still runs."""
        done = self.run(words)
        states: Iterator[int | None] = iter([None, done.returncode])
        stderr = io.BytesIO(done.stderr.encode())
        return SimpleNamespace(pid=os.getpid(), stderr=stderr, poll=lambda: next(states))


@pytest.mark.parametrize("name", NAMES)
def test_every_script_runs(
    name: str, files, script, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture
) -> None:
    assert name in CALLS, f"{name} is new: add a function to CALLS that runs it on toy weights"
    module = script(ROOT / name)
    if name.endswith("bench_codec.py"):  # use a small network for random weights
        monkeypatch.setattr("ticodec.models.families.preset", lambda name: SMALL)
        monkeypatch.setattr(module, "CROP", 64)
        monkeypatch.setattr(module, "alone", lambda function, *arguments: function(*arguments))
    if name.endswith("bench_sizes.py"):
        monkeypatch.setattr(module, "REPEATS", 1)
        monkeypatch.setattr(module, "subprocess", subprocess)  # it measures memory of processes
    if name.endswith("bench_engines.py"):
        monkeypatch.setattr("speed.engines.PROCESSES", multiprocessing.dummy)
    for call in CALLS[name](files):
        module.main([str(word) for word in call.words])
        if isinstance(call.gives, Path):
            assert call.gives.stat().st_size > 0
        else:
            assert call.gives in capfd.readouterr().out


def test_calls_has_no_script_that_is_gone() -> None:
    assert sorted(CALLS) == sorted(NAMES)


def test_stages_add_up(files, script, monkeypatch: pytest.MonkeyPatch) -> None:
    """All stages of encoding and decoding are measured. Their seconds add up to the total."""
    module = script(ROOT / "tests/benchmarks/bench_codec.py")
    monkeypatch.setattr(module, "alone", lambda function, *arguments: function(*arguments))
    call = bench_codec(files)[0]
    module.main([str(word) for word in call.words])
    runs = json.loads((files.out / "n.json").read_text())["runs"]
    assert runs, "a run for each path"
    for run in runs:
        (sample,) = run["samples"]
        for way, stages in module.STAGES.items():
            seconds = {stage: sample[f"{way} {stage}"] for stage in stages}
            assert min(seconds.values()) > 0, seconds
            assert sum(seconds.values()) == pytest.approx(sample[way])


def test_a_stage_whose_code_has_moved_is_an_error(script) -> None:
    module = script(ROOT / "tests/benchmarks/bench_codec.py")
    clock = module.Clock()
    codec = SimpleNamespace(g_a=abs, h_a=abs)
    clock.watch("g_a", codec, "g_a")
    with pytest.raises(RuntimeError, match="encode: no call of entropy, h_a, h_s, rANS was seen"):
        clock.measure("encode", lambda: codec.g_a(-1) + codec.h_a(-1))
    clock.restore()
    assert codec.g_a is abs


def test_other_bits_are_found(tmp_path: Path, script) -> None:
    """A stream or an array that differs is reported, for each number of threads."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is missing")
    module = script(ROOT / "tests/benchmarks/other_machines.py")
    here = [Path(sysconfig.get_paths()["include"])]
    extension = module.load(module.build.compile_extension(tmp_path / "_exact.so", "gcc", here, []))
    replay, blobs = module.replay.replay, []
    case = next(module.CASES["golden"]())
    jobs, differs = module.record(case, extension, blobs)
    assert differs == ""
    for job in jobs:
        assert replay(extension, job, blobs, None) == ""
        changed = next(at for at, (_, before, after) in enumerate(job["arrays"]) if before != after)
        code, before, _ = job["arrays"][changed]
        other = {**job, "arrays": [*job["arrays"]]}
        other["arrays"][changed] = (code, before, before)
        assert replay(extension, other, blobs, None) == f"array {changed} has other numbers"
        calls = [
            (*call[:3], ("value", b"")) if call[0] == "finish" else call for call in job["calls"]
        ]
        found = replay(extension, {**job, "calls": calls}, blobs, None)
        assert found == "finish returns something else"


# -- commands that documents quote --------------------------------------------------

COMMAND = re.compile(r"^(?P<python>python )?(?P<path>(?:tests|docs)/\S+\.py)(?P<words>[^#|]*)")


def quoted(text: str) -> Iterator[tuple[str, list[str]]]:
    """(path, arguments) of every command line of a script in Markdown.

    It is a line between ``` fences, or text in `…` elsewhere.
    """
    for number, part in enumerate(re.split(r"^```.*$", text, flags=re.MULTILINE)):
        spans = part.splitlines() if number % 2 else re.findall(r"`([^`]+)`", part)
        for span in spans:
            match = COMMAND.match(" ".join(span.split()))
            if match and (match["python"] or match["words"].strip()):
                yield match["path"], shlex.split(match["words"])


def own(text: str) -> Iterator[tuple[str, list[str]]]:
    """(path, arguments) of every command line in a script's docstring.

    Arguments in [ ], which may be left out, are included.
    """
    for line in text.split('"""')[1].splitlines():
        if match := COMMAND.match(line.strip().replace("[", "").replace("]", "")):
            yield match["path"], shlex.split(match["words"])


DOCUMENTS = [
    *(ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md")),
    *ROOT.glob("weights/*.md"),
]
COMMANDS = [
    (file.relative_to(ROOT).as_posix(), *command)
    for file in [*DOCUMENTS, *SCRIPTS]
    for command in (own if file.suffix == ".py" else quoted)(file.read_text(encoding="utf-8"))
]


def test_commands_are_found_in_documents() -> None:
    quoting = {file for file, *_ in COMMANDS}
    assert {"README.md", "docs/batch.md", "docs/training.md"} <= quoting
    words = ["--models", "tic-plus,tic-lite", "--cold"]
    assert ("README.md", "tests/benchmarks/bench_codec.py", words) in COMMANDS


@pytest.mark.parametrize(("file", "path", "words"), COMMANDS)
def test_quoted_commands_are_right(file: str, path: str, words: list[str], script) -> None:
    assert (ROOT / path).is_file(), f"{file} quotes {path}, which does not exist"
    parser: argparse.ArgumentParser = script(ROOT / path).parser()
    parser.exit_on_error = False
    try:
        parser.parse_args(words)
    except (argparse.ArgumentError, SystemExit) as error:
        pytest.fail(f"{file}: {path} {shlex.join(words)}: {error}")


@pytest.mark.parametrize("path", SCRIPTS, ids=NAMES)
def test_scripts_say_how_they_are_run(path: Path) -> None:
    assert path.relative_to(ROOT).as_posix() in {
        name for name, _ in own(path.read_text(encoding="utf-8"))
    }
