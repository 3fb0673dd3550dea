"""Exactness: every configuration writes the same stream and decodes to the same symbols.

The last test shows that ordinary float32 code does not do this, so the other tests can fail.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ticodec import weights
from ticodec.codec import Codec

WORKER = Path(__file__).with_name("exactness_worker.py")

CONFIGURATIONS = {
    "2 threads": ({}, {}),
    "1 thread": ({"threads": 1}, {}),
    "whole image": ({"whole": True}, {}),
    "baseline CPU": ({}, {"ATEN_CPU_CAPABILITY": "default"}),
    "AVX2": ({}, {"ATEN_CPU_CAPABILITY": "avx2"}),
    "oneDNN off": ({"no_onednn": True}, {}),
    "oneDNN capped, 1 thread": ({"threads": 1}, {"ONEDNN_MAX_CPU_ISA": "AVX2"}),
    "torch, without the C extension": ({}, {"TICODEC_NATIVE": "0"}),
    "other BLAS kernels": ({}, {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "MKL_CBWR": "COMPATIBLE"}),
}
if torch.backends.cpu.get_cpu_capability().startswith("AVX512"):  # torch crashes on other CPUs
    CONFIGURATIONS["AVX-512"] = ({}, {"ATEN_CPU_CAPABILITY": "avx512"})
if torch.cuda.is_available():
    CONFIGURATIONS["CUDA"] = ({"cuda": True}, {})


def run(folder: Path, options: list[dict], environment: dict) -> list[dict[str, dict]]:
    """Hashes of each model in each of these configurations. One process runs them all."""
    done = subprocess.run(
        [sys.executable, str(WORKER), str(folder), json.dumps(options)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


SHIPPED = {
    entry.name: entry
    for entry in weights.entries(weights.store.SHIPPED)
    if entry.default or entry.model == "icat"  # their entropy coders differ
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, sample: Path) -> dict[str, dict[str, dict]]:
    """Hashes of all configurations, for latents of a real photo, with the shipped models."""
    folder = tmp_path_factory.mktemp("exactness")
    pixels = np.array(Image.open(sample).convert("RGB").crop((256, 64, 576, 320)))
    for name, entry in SHIPPED.items():
        codec = Codec(entry, "cpu", bf16=False)
        levels = codec.config.levels
        y, z = codec.scaled(
            codec.features(pixels), codec.stored_quality(min(6, levels) if levels > 1 else None)
        )
        (folder / name).mkdir()
        np.savez(folder / name / "latents.npz", y=y.numpy(), z=z.numpy())
    processes: dict[str, list[str]] = {}  # configurations by their environment
    for name, (_, environment) in CONFIGURATIONS.items():
        processes.setdefault(json.dumps(environment), []).append(name)

    def results(environment: str, names: list[str]) -> dict[str, dict[str, dict]]:
        options = [CONFIGURATIONS[name][0] for name in names]
        return dict(zip(names, run(folder, options, json.loads(environment)), strict=True))

    first, *others = processes.items()
    found = results(*first)  # writes the reference streams
    with ThreadPoolExecutor(2) as pool:
        for more in pool.map(lambda process: results(*process), others):
            found |= more
    return found


@pytest.fixture(params=SHIPPED)
def hashes(found: dict[str, dict[str, dict]], request: pytest.FixtureRequest) -> dict[str, dict]:
    """The hashes of one model, by configuration."""
    return {name: each[request.param] for name, each in found.items()}


@pytest.mark.parametrize("what", ["streams", "decoded", "parameters"])
def test_all_configurations_give_the_same(hashes: dict[str, dict], what: str) -> None:
    found = {name: result[what] for name, result in hashes.items()}
    assert len(set(found.values())) == 1, found


def test_float32_differs_between_configurations(hashes: dict[str, dict]) -> None:
    found = {name: result["float32"] for name, result in hashes.items()}
    assert len(set(found.values())) > 1, "this test could not have noticed a float32 path"
