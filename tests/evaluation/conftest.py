"""Fixtures of the tests of runs, reports and pages: a measured folder, classes, classifiers."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from support import GOLDEN, make_pixels

from evaluation.heads import FOLDERS, RANKING, forget, write_head
from ticodec import api, weights
from ticodec.evaluation import measure, report_files, summary
from ticodec.evaluation.folder_labels import PixelFile
from ticodec.evaluation.registry import CoderSpec

#: A name that does harm if it is not escaped.
AWKWARD = "b <img src=x onerror=alert(1)> & \"'.png"
SPECS = [CoderSpec("tiny", True, "cpu", (1.0, 4.0, 8.0)), CoderSpec("jpeg"), CoderSpec("jpeg2000")]


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """A folder of two photos that are large enough for MS-SSIM. One has an awkward name."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "sub").mkdir()
    Image.fromarray(make_pixels(176, 240)).save(folder / "a.png")
    Image.fromarray(make_pixels(240, 176, 1)).save(folder / "sub" / AWKWARD)
    return folder


@pytest.fixture(scope="session")
def measured(photos: Path, tmp_path_factory) -> SimpleNamespace:
    """The result of evaluating the photos: its run, its summary and its files."""
    out = tmp_path_factory.mktemp("evaluated") / "report"
    done = measure.evaluate(photos, SPECS, out)
    means = summary.summarise(done)
    files = report_files.write_report(done, means, str(photos), 24)
    return SimpleNamespace(run=done, summary=means, out=out, files=files)


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """A folder with six images: four in folders named like labels, one in another, one in none."""
    number = 0
    for name, count in FOLDERS.items():
        (tmp_path / "val" / name).mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            pixels = make_pixels(56, 72, number)
            Image.fromarray(pixels).save(tmp_path / "val" / name / f"{number}.png")
            number += 1
    return tmp_path / "val"


@pytest.fixture
def headed(tmp_path: Path, monkeypatch) -> Iterator[Callable[..., weights.Entry]]:
    """A function that installs the tiny network as "headed", with a classifier of its latents."""
    folder = tmp_path / "weights"

    def install(**head) -> weights.Entry:
        folder.mkdir(exist_ok=True)
        manifest = json.loads((GOLDEN / "weights" / "manifest.json").read_text())
        fields = manifest["models"]["tiny"]
        shutil.copy(GOLDEN / "weights" / fields["file"], folder)
        tiny = weights.find("tiny")
        given = {"stem": "latents", "channels": api.loaded(tiny, "cpu").config.M, "codec": "tiny"}
        given |= {"fingerprint": tiny.fingerprint.hex()} | head
        digest = write_head(folder / "head.safetensors", **given)
        about = {"file": "head.safetensors", "sha256": digest, "parameters": 1, "trained": ""}
        models = {"default": "", "models": {"headed": fields | {"head": about}}}
        (folder / "manifest.json").write_text(json.dumps(models))
        monkeypatch.setenv("TICODEC_WEIGHTS", f"{GOLDEN / 'weights'}{os.pathsep}{folder}")
        return weights.find("headed")

    yield install
    forget()


@pytest.fixture
def pixels(tmp_path: Path) -> PixelFile:
    """A classifier of pixels whose answer is always `RANKING`."""
    write_head(tmp_path / "pixels.safetensors", RANKING)
    return PixelFile.checked(tmp_path / "pixels.safetensors", "cpu")
