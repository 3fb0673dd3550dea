"""Checkpoints in parts: sizes, replacing, and incomplete sets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ticodec.errors import BadInputError, TicodecError
from ticodec.training import parts
from ticodec.training.export.sources import mean


def some_bytes(count: int, seed: int) -> bytes:
    return np.random.default_rng(seed).bytes(count)


def test_parts_give_the_data_that_was_written(tmp_path: Path) -> None:
    data = some_bytes(5 * parts.MIB // 2, 1)
    parts.write(tmp_path, data, 1, {"step": 7})
    sizes = [(tmp_path / f"weights.{i}").stat().st_size for i in range(3)]
    assert sizes == [parts.MIB, parts.MIB, parts.MIB // 2]
    assert json.loads((tmp_path / "index.json").read_text())["step"] == 7
    assert parts.are_in(tmp_path)
    assert parts.join(tmp_path) == data


def test_a_smaller_set_leaves_nothing_of_a_larger_one(tmp_path: Path) -> None:
    parts.write(tmp_path, some_bytes(3 * parts.MIB, 1), 1, {})
    data = some_bytes(1000, 2)
    parts.write(tmp_path, data, 1, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.json", "weights.0"]
    assert parts.join(tmp_path) == data


def test_a_mixed_set_is_refused(tmp_path: Path) -> None:
    parts.write(tmp_path, some_bytes(3 * parts.MIB, 1), 1, {})
    early = (tmp_path / "weights.1").read_bytes()
    parts.write(tmp_path, some_bytes(3 * parts.MIB, 2), 1, {})
    (tmp_path / "weights.1").write_bytes(early)
    with pytest.raises(BadInputError, match=r"weights\.1 does not belong to .* copy the whole"):
        parts.join(tmp_path)


@pytest.mark.parametrize("missing", ["weights.0", "index.json"])
def test_an_incomplete_set_is_refused(missing: str, tmp_path: Path) -> None:
    parts.write(tmp_path, some_bytes(100, 1), 1, {})
    (tmp_path / missing).unlink()
    with pytest.raises(BadInputError, match=missing):
        parts.join(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"parts": [1]}', '{"parts": [{"name": "a"}]}'])
def test_an_invalid_index_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(BadInputError, match="not an index"):
        parts.join(tmp_path)


def test_a_run_that_begins_is_not_marked_as_done(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "parts"
    parts.begin(folder)
    parts.finish(folder)
    assert (folder / "done").exists()
    parts.begin(folder)
    assert not (folder / "done").exists()


def test_a_disk_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "weights.0.part").mkdir()  # a folder where a file is to be written
    with pytest.raises(TicodecError, match="cannot write the weights"):
        parts.write(tmp_path, b"data", 1, {})


def test_export_reads_half_precision_unchanged() -> None:
    """Otherwise parts and the checkpoint they were made of would have different fingerprints."""
    (same,) = mean([{"weight": torch.tensor([-1e-9]).half()}]).values()
    assert torch.signbit(same)
