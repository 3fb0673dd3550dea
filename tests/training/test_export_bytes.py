"""The same checkpoint gives the same bytes, and so the same fingerprint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load
from support import CPU, SMALL, SMALL_RUN, make_pixels

from ticodec.training import checkpoint
from ticodec.training.codec_trainer import Trainer
from ticodec.training.export import weights_file
from ticodec.training.export.canonical import safetensors_bytes
from ticodec.training.export.one_thread import one_thread
from ticodec.training.export.weights_file import export

TENSORS = {
    "b": torch.arange(6, dtype=torch.int16).reshape(2, 3),
    "a": torch.tensor([1.5, -2.0], dtype=torch.float16),
    "ä": torch.tensor(7, dtype=torch.int64),
    "one": torch.zeros(1, dtype=torch.int16),
    "none": torch.zeros(0, 3, dtype=torch.int32),
    "turned": torch.arange(6, dtype=torch.float32).reshape(2, 3).t(),
}
METADATA = {"format": "1", "config": '{"N": 16}', "a": "", "ß": "ß"}


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a small network."""
    trainer = Trainer(SMALL, SMALL_RUN, CPU)
    trainer.calibration = torch.from_numpy(make_pixels(128, 128))[None]
    trainer.average.load_state_dict(trainer.network.state_dict())
    path = tmp_path_factory.mktemp("checkpoint") / "a.pt"
    trainer.save(path)
    return path


def test_safetensors_reads_what_is_written(tmp_path: Path) -> None:
    data = safetensors_bytes(TENSORS, METADATA)
    read = load(data)
    assert read.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)
    (tmp_path / "a.safetensors").write_bytes(data)
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert file.metadata() == METADATA


def test_bytes_do_not_depend_on_the_order_of_anything() -> None:
    turned = dict(reversed(TENSORS.items())), dict(reversed(METADATA.items()))
    assert safetensors_bytes(*turned) == safetensors_bytes(TENSORS, METADATA)


@pytest.mark.parametrize("padding", range(8))
def test_tensors_are_aligned(padding: int) -> None:
    data = safetensors_bytes(TENSORS, {"x": "x" * padding})
    size = int.from_bytes(data[:8], "little")
    assert size % 8 == 0
    header = json.loads(data[8 : 8 + size])
    del header["__metadata__"]
    ends = [0]
    for name, fields in header.items():
        begin, end = fields["data_offsets"]
        assert begin == ends[-1]
        assert begin % TENSORS[name].element_size() == 0
        ends.append(end)
    assert len(data) == 8 + size + ends[-1]


def test_the_same_checkpoint_has_the_same_fingerprint(state: Path, tmp_path: Path) -> None:
    """It is exported in this process with 1 and 2 threads, and in another process."""
    found = set()
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.add(export([state], tmp_path / str(count)).sha256)
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    script = (
        "import sys; from pathlib import Path;"
        "from ticodec.training.export.weights_file import export;"
        "print(export([Path(sys.argv[1])], Path(sys.argv[2])).sha256)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(state), str(tmp_path / "process")],
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    found.add(done.stdout.strip())
    assert len(found) == 1


def test_floats_are_summed_with_one_thread(state: Path, tmp_path: Path, monkeypatch) -> None:
    seen = []
    for name in ("calibration_latents", "compile_entropy"):
        real = getattr(weights_file, name)
        monkeypatch.setattr(
            weights_file,
            name,
            lambda *given, real=real: [seen.append(torch.get_num_threads()), real(*given)][1],
        )
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        export([state], tmp_path)
    finally:
        torch.set_num_threads(threads)
    assert seen == [1, 1]


def test_the_number_of_threads_is_restored_after_a_failure() -> None:
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with pytest.raises(ValueError, match="failed"), one_thread():
            raise ValueError("failed")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


@pytest.fixture
def halved(state: Path, tmp_path: Path) -> Path:
    """A checkpoint for export only. It has averages in half precision, and cannot be resumed."""
    whole = checkpoint.load(state)
    kept = ("config", "options", "history", "calibration", "kind", "step")
    small = {name: whole[name] for name in kept}
    small["average"] = {name: value.half() for name, value in whole["average"].items()}
    checkpoint.save(tmp_path / "halved.pt", small)
    return tmp_path / "halved.pt"


def test_averages_in_half_precision(halved: Path, state: Path, tmp_path: Path) -> None:
    loaded = checkpoint.load(halved)["average"]
    assert {value.dtype for value in loaded.values()} == {torch.float32}
    entry = export([halved], tmp_path / "one")
    assert entry.sha256 == export([state], tmp_path / "two").sha256


def test_a_run_can_begin_from_averages_in_half_precision(
    halved: Path, folder: Path, tmp_path: Path, run
) -> None:
    done = run("train", "--init", halved, "--data", folder, "--crop", 64, "--batch", 2,
               "--max-steps", 1, "--device", "cpu", "--out", tmp_path / "run")  # fmt: skip
    assert done.code == 0, done.err
    average = checkpoint.load(tmp_path / "run" / "trunk.pt")["average"]
    assert {value.dtype for value in average.values()} == {torch.float32}
