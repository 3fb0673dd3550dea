"""A small measured folder that the tests of runs, reports and pages share."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from support import make_pixels

from ticodec.evaluation import output, run, summary
from ticodec.evaluation.coders import CoderSpec

#: A name that is trouble where it is not escaped.
AWKWARD = "b <img src=x onerror=alert(1)> & \"'.png"
SPECS = [CoderSpec("tiny", True, "cpu", (1.0, 4.0, 8.0)), CoderSpec("jpeg"), CoderSpec("jpeg2000")]


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """Two photos of which MS-SSIM can be taken, one of them awkwardly named."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "sub").mkdir()
    Image.fromarray(make_pixels(176, 240)).save(folder / "a.png")
    Image.fromarray(make_pixels(240, 176, 1)).save(folder / "sub" / AWKWARD)
    return folder


@pytest.fixture(scope="session")
def measured(photos: Path, tmp_path_factory) -> SimpleNamespace:
    """`evaluate` of the photos: its run, summary and folder of files."""
    out = tmp_path_factory.mktemp("evaluated") / "report"
    done = run.evaluate(photos, SPECS, out)
    means = summary.summarise(done)
    files = output.write_report(done, means, str(photos), 24)
    return SimpleNamespace(run=done, summary=means, out=out, files=files)
