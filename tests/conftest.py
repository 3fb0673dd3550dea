"""Shared fixtures: a tiny trained network, generated photos, and a real photo."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from PIL import Image

# The command sets GOMP_SPINCOUNT too: threads that spin are very slow when tests share the cores.
# One thread is enough for tests that run side by side. Tests of threads set their own number.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Float32 on every machine and in every process that tests start. Otherwise a CPU that is fast at
# bf16 would be tested with other arithmetic than one that is not. Tests of both types use the
# fixture `bf16`.
os.environ.setdefault("TICODEC_BF16", "0")

# The readline library sets COLUMNS, the width of the terminal. Tests that need a width set it.
os.environ.pop("COLUMNS", None)

from faster import fork_workers, share_command
from support import (  # imports torch, which reads the variables above
    GOLDEN,
    ROOT,
    SAMPLES,
    Result,
    make_pixels,
)

share_command()
fork_workers()

# No test, and no process that a test starts, reads or writes the developer's own weights. This has
# to be set before anything looks for weights.
os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp(prefix="ticodec-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_DATA_HOME"], ignore_errors=True)

# Makes the tiny network available besides the shipped ones.
os.environ["TICODEC_WEIGHTS"] = str(GOLDEN / "weights")

#: The slowest test files, the slowest first. They are started in this order before all others.
LONGEST = (
    "cli/test_batch_ray.py",
    "cli/test_batch_faults.py",
    "test_scripts.py",
    "test_command_lines.py",
    "training/test_distributed.py",
    "cli/test_evaluate_compare.py",
    "training/test_head.py",
    "codec/test_exactness.py",
    "training/test_training.py",
    "evaluation/test_accuracy_command.py",
    "cli/test_encode_decode.py",
    "training/test_head_start.py",
    "evaluation/test_workers.py",
    "codec/test_attention_gpu.py",
    "codec/test_cost.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slowest files, so that no worker still has one when the others are done.

    By default pytest-xdist begins with the files that have most tests. These are fast: the slow
    files have few tests, which start processes. So `make test` passes --no-loadscope-reorder.
    """
    places = {ROOT / "tests" / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> None:
    """Stop ignoring SIGINT, which processes that tests start would inherit.

    A shell that runs the tests in the background may have them ignore it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Restore signal handlers, because processes that later tests start would inherit them."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture(params=[False, True], ids=["float32", "bf16"])
def bf16(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    """Run the test twice: as on a machine that is not fast at bf16, and as on one that is."""
    from ticodec import api

    monkeypatch.setenv("TICODEC_BF16", str(int(request.param)))
    api._loaded.cache_clear()  # forget codecs that were loaded with the other type
    yield request.param
    api._loaded.cache_clear()


@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots are built but not rendered: their files hold only the first bytes of their format.

    Rendering took half of the time of a report on a few small photos. Use this in tests of other
    parts of a report.
    """

    def save(self: object, out: BinaryIO, *, format: str, **_: object) -> None:
        out.write({"svg": b"<?xml ?><svg/>", "png": b"\x89PNG"}[format])

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", save)


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of the golden files and the tiny network's weights."""
    return GOLDEN


@pytest.fixture(scope="session")
def sample() -> Path:
    """A real photo, 768×512."""
    return SAMPLES / "kodim23.png"


@pytest.fixture(scope="session")
def tiny():
    """The tiny network's codec in float32 on the CPU, which every machine has."""
    import ticodec

    return ticodec.load("tiny", device="cpu", bf16=False)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A 90×70 PNG."""
    path = tmp_path / "photo.png"
    Image.fromarray(make_pixels(70, 90)).save(path)
    return path


@pytest.fixture
def picture():
    """A function that makes a `Picture` of a height and a width."""
    from ticodec.picture import Picture

    return lambda height, width, seed=0: Picture(make_pixels(height, width, seed))


@pytest.fixture
def fixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Random weights of a small network for one λ, installed under the name "fixed"."""
    import torch

    from ticodec.models.families import preset
    from ticodec.models.tic import Network
    from ticodec.training.codec_trainer import Trainer
    from ticodec.training.export.weights_file import export
    from ticodec.training.options import TrainOptions

    config = preset("tic", N=16, M=16, cam_heads=4, lambdas=(0.0067,))
    trainer = Trainer(config, TrainOptions(quality_range=(1, 1)), torch.device("cpu"))
    trainer.average = Network(config)
    trainer.calibration = torch.from_numpy(make_pixels(128, 128))[None]
    folder = tmp_path / "fixed"
    trainer.save(tmp_path / "fixed.pt")
    monkeypatch.setenv("TICODEC_WEIGHTS", f"{os.environ['TICODEC_WEIGHTS']}{os.pathsep}{folder}")
    return export([tmp_path / "fixed.pt"], folder, "fixed")


@pytest.fixture(scope="session")
def joint_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder with "joint", a small joint model of three classes with random weights."""
    import torch

    from ticodec.models.config import ViTConfig
    from ticodec.models.families import preset
    from ticodec.training.export.weights_file import export
    from ticodec.training.joint_trainer import JointTrainer
    from ticodec.training.options import TrainOptions

    vit = ViTConfig(C=16, L=4, heads=2, grid=4)
    config = preset("icat-lite", N=16, M=16, vit=vit, labels=("ant", "bee", "cow"))
    trainer = JointTrainer(config, TrainOptions(crop=64, quality_range=(1, 3)), torch.device("cpu"))
    trainer.average.load_state_dict(trainer.network.state_dict())
    trainer.calibration = torch.from_numpy(make_pixels(128, 128))[None]
    folder = tmp_path_factory.mktemp("joint")
    trainer.save(folder / "joint.pt")
    export([folder / "joint.pt"], folder, "joint")
    return folder


@pytest.fixture
def joint(joint_store: Path, monkeypatch: pytest.MonkeyPatch):
    """The codec of "joint" in float32 on the CPU. "joint" is installed besides the others."""
    from ticodec import weights
    from ticodec.codec import Codec

    searched = f"{os.environ['TICODEC_WEIGHTS']}{os.pathsep}{joint_store}"
    monkeypatch.setenv("TICODEC_WEIGHTS", searched)
    return Codec(weights.find("joint"), "cpu", bf16=False)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture) -> Callable[..., Result]:
    """Run `ticodec` in this process: run("encode", path, "-q", 5).

    The result includes what its worker processes write to standard error.
    """
    from ticodec.cli import app

    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["ticodec", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as done:
            app.main()
        captured = capfd.readouterr()
        return Result(int(done.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture
def shell() -> Callable[..., subprocess.CompletedProcess]:
    """Run `ticodec` as a process of its own."""

    def call(*arguments: object, **options) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "ticodec", *map(str, arguments)]
        # Pass Python's variables. The inherited ones may include COLUMNS, which readline sets.
        options.setdefault("env", dict(os.environ))
        return subprocess.run(command, capture_output=True, **options)

    return call
