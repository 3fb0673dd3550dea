"""Several efforts of a model: each is a coder, its measurements are reused, its gain is shown."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image
from support import make_pixels

from ticodec import __version__
from ticodec.codec import ENCODER, Codec
from ticodec.errors import UsageError
from ticodec.evaluation import measure, report_files, summary
from ticodec.evaluation.bd import Curve, Delta
from ticodec.evaluation.effort_plot import effort_plot
from ticodec.evaluation.efforts import Step, steps
from ticodec.evaluation.registry import CoderSpec, make
from ticodec.evaluation.report_tables import efforts_table

PLAIN = CoderSpec("tiny", True, "cpu", (1.0, 4.0))
HARDER = replace(PLAIN, effort=3)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, float]]:
    """A list that gets (effort, quality) of each encoding. All efforts encode as effort 1 does."""
    seen: list[tuple[int, float]] = []
    real = Codec.encode

    def encode(self, image, quality=None, *, effort=1, progress=None):
        seen.append((effort, quality))
        return real(self, image, quality)

    monkeypatch.setattr(Codec, "encode", encode)
    return seen


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    Image.fromarray(make_pixels(64, 80)).save(tmp_path / "in" / "a.png")
    return tmp_path / "in"


def test_each_effort_is_a_coder_of_its_own() -> None:
    plain, harder, hardest = (make(replace(PLAIN, effort=effort)) for effort in (1, 3, 9))
    assert [coder.name for coder in (plain, harder, hardest)] == [
        "tiny",
        "tiny effort 3",
        "tiny effort 9",
    ]
    assert len({coder.version for coder in (plain, harder, hardest)}) == 3
    assert [(coder.model, coder.effort) for coder in (plain, harder)] == [("tiny", 1), ("tiny", 3)]
    with pytest.raises(UsageError, match="`effort` must be from 1 to 9, not 10"):
        make(replace(PLAIN, effort=10))


def test_earlier_measurements_of_effort_1_are_still_used() -> None:
    """Name and version, which are part of a measurement's key, have not changed."""
    coder = make(PLAIN)
    version = f"ticodec {__version__}, encoder {ENCODER}, weights 37eb2f07, cpu"
    assert (coder.name, coder.version) == ("tiny", version)


def test_the_codec_is_given_the_effort(asked) -> None:
    make(HARDER).encode(make_pixels(40, 40), 4.0)
    make(PLAIN).encode(make_pixels(40, 40), 4.0)
    assert asked == [(3, 4.0), (1, 4.0)]


def test_only_a_new_effort_is_measured(folder, tmp_path, asked, monkeypatch) -> None:
    out = tmp_path / "report"
    measure.evaluate(folder, [PLAIN], out)
    measure.ready(HARDER)  # it codes a small image once per process to warm up
    asked.clear()
    done = measure.evaluate(folder, [PLAIN, HARDER], out)
    assert asked == [(3, 1.0), (3, 4.0)]
    files = {done.path(done.sources[0], coder, 4.0) for coder in done.coders}
    assert len(files) == 2
    assert all(file.is_file() for file in files)
    asked.clear()
    measure.evaluate(folder, [PLAIN, HARDER], out)
    assert asked == []
    with monkeypatch.context() as patch:  # as in a version that refines in another way
        patch.setattr("ticodec.evaluation.ticodec_coder.REFINEMENT", 99)
        make.cache_clear()
        measure.evaluate(folder, [PLAIN, HARDER], out)
    make.cache_clear()
    assert asked == [(3, 1.0), (3, 4.0)]


@pytest.mark.usefixtures("asked", "unrendered")
def test_a_report_of_several_efforts(folder, tmp_path) -> None:
    out = tmp_path / "report"
    done = measure.evaluate(folder, [PLAIN, HARDER, CoderSpec("jpeg")], out)
    means = summary.summarise(done)
    files = report_files.write_report(done, means, "in", 24)
    assert [each.against for each in means.comparisons] == ["jpeg"]  # no other effort of the model
    table = report_files.tables_of(done, means)[-2]
    assert table.title == "every effort against effort 1"
    assert [row[:2] for row in table.rows] == [("tiny", "1"), ("tiny", "3")]
    assert table.header[-1] == "against jpeg"
    assert [row[3] for row in table.rows] == ["+0.0 %", "+0.0 %"]  # the same bytes
    assert {"effort.svg", "effort.png"} <= set(files)
    assert all((out / name).is_file() for name in files)
    assert (out / "report.html").read_text().count("one line per model") == 1
    text = (out / "report.md").read_text()
    assert "### every effort against effort 1" in text
    assert "Efforts: seconds are means" in text
    facts = json.loads((out / "report.json").read_text())["efforts"]
    assert [(step["model"], step["effort"]) for step in facts] == [("tiny", 1), ("tiny", 3)]


def test_seconds_and_bits_are_from_the_measurements() -> None:
    """One curve has nine tenths of the bits. A model with only one effort has no step."""
    pairs = [(0.2, 28.0), (0.4, 31.0), (0.8, 34.0), (1.6, 36.0)]
    fewer = [(0.9 * rate, db) for rate, db in pairs]
    seconds = {("big", 1): (1.0, 3.0), ("big", 9): (50.0, 70.0), ("small", 1): (0.1, 0.2)}
    coders = [
        SimpleNamespace(name=f"{model} {effort}", model=model, effort=effort, ladder=(1.0, 8.0))
        for model, effort in [("big", 9), ("small", 1), ("big", 1)]
    ]
    peer = SimpleNamespace(name="jpeg", model="", effort=0, ladder=(50.0,))
    curves = [Curve(name, tuple(at)) for name, at in zip("abcd", [fewer, pairs] * 2, strict=True)]

    def measured(source, coder, setting):
        return SimpleNamespace(encode_seconds=seconds[coder.model, coder.effort][setting > 1])

    curves[2] = Curve("big 1", tuple(pairs))
    curves[3] = Curve("jpeg", tuple((2 * rate, db) for rate, db in pairs))
    run = SimpleNamespace(coders=[*coders, peer], sources=["photo"], measured=measured)
    found = steps(run, curves)
    assert [(step.model, step.effort, step.seconds) for step in found] == [
        ("big", 1, 2.0),
        ("big", 9, 60.0),
    ]
    assert [step.psnr.rate for step in found] == [pytest.approx(0), pytest.approx(-10, abs=0.1)]
    rates = [step.others["jpeg"].rate for step in found]
    assert rates == [pytest.approx(-50, abs=0.1), pytest.approx(-55, abs=0.1)]


def step(model: str, effort: int, seconds: float, rate: float | None) -> Step:
    delta = Delta(rate) if rate is not None else Delta(why=f"{model} has one point")
    none = Delta(why=f"{model} has no points")
    return Step(model, effort, seconds, delta, none, {"jpeg": Delta(-50.0)})


def test_the_plot_has_one_line_per_model() -> None:
    big = [step("big", 1, 0.3, 0.0), step("big", 9, 60, -6.0)]
    small = [step("small", 1, 0.1, 0.0), step("small", 9, 10, -5.0)]
    fixed = [step("fixed", 1, 1, None), step("fixed", 9, 9, None)]  # no curve, so no rate
    one, both = effort_plot(big, "kodak"), effort_plot([*big, *small], "kodak")
    assert ET.fromstring(one).tag.endswith("svg")
    assert one != both
    assert one == effort_plot([*big, *fixed], "kodak")
    assert effort_plot(fixed, "kodak") is None
    assert effort_plot([], "kodak") is None


def test_a_missing_rate_says_why() -> None:
    table = efforts_table([step("big", 2, 0.3, 0.0), step("fixed", 3, 9, None)])
    assert table.title == "every effort against effort 2"
    assert table.rows == [
        ("big", "2", "0.300", "+0.0 %", "–", "-50.0 %"),
        ("fixed", "3", "9.000", "fixed has one point", "–", "-50.0 %"),
    ]
