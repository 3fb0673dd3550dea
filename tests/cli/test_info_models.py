"""`info`, `models`, `--version` and `--help`, which are fast and do not import torch."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ticodec
from ticodec import container, sections
from ticodec.entropy import native
from ticodec.models import native as kernels
from ticodec.models.config import VITS
from ticodec.models.families import PRESETS

TORCH_FREE = """
import sys
from ticodec.cli import app
sys.argv = ["ticodec", *sys.argv[1:]]
try:
    app.main()
except SystemExit as done:
    assert not done.code, done.code
heavy = {"torch", "compressai", "safetensors", "scipy"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["info", "FILE"], ["info", "FILE", "--json"], ["models"],
     ["encode", "--help"], ["train", "--help"]],
)  # fmt: skip
def test_commands_without_a_network_import_no_torch(golden: Path, arguments: list[str]) -> None:
    file = str(golden / "v1" / "photo-q5.tic")
    arguments = [file if a == "FILE" else a for a in arguments]
    command = [sys.executable, "-c", TORCH_FREE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_encode_does_import_torch(photo: Path) -> None:
    """This shows that the test above can fail."""
    command = [sys.executable, "-c", TORCH_FREE, "encode", str(photo), "-m", "tiny"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "AssertionError" in done.stderr
    assert "'torch'" in done.stderr


def test_info_json(run, golden: Path) -> None:
    path = golden / "v1" / "everything.tic"
    facts = json.loads(run("info", path, "--json").out)
    sections = facts.pop("sections")
    assert facts == {
        "format_version": 1,
        "model": "tic-lite",
        "weights": "37eb2f07",
        "weights_name": "tiny",
        "quality": 2,
        "width": 70,
        "height": 50,
        "mode": "RGB",
        "bytes": path.stat().st_size,
        "bpp": pytest.approx(8 * path.stat().st_size / 3500, abs=1e-4),
    }
    assert [s["type"] for s in sections] == ["z", "y", "icc", "exif", "xmp", "alpha"]
    assert all(s["bytes"] > 0 for s in sections)


def test_info_table_shows_every_fact(run, golden: Path) -> None:
    out = run("info", golden / "v1" / "photo-q5.tic").out
    for word in ("tic-lite", "tiny (37eb2f07)", "160", "120", "RGB", "bpp", "809", "y "):
        assert word in out


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"3145728.jpg", "from a .jpg of 3,145,728 bytes"),
        (b"5", "made by `ticodec batch encode` from a file without suffix of 5 bytes"),
        (b"-5l.png", "a .png of 5 bytes, location left out as asked, the photo was to be deleted"),
        (b"5m.png./psnr=35,effort=7", "target 35 dB PSNR, effort 7, metadata left out as asked"),
        (b"5.png./size=50000", "a .png of 5 bytes, target 50,000 bytes"),
        (b"5.png./vmaf=90", "target vmaf=90"),
        (b"odd", "not readable by this version"),
    ],
)
def test_info_says_what_a_file_was_made_from(
    run, golden: Path, tmp_path: Path, monkeypatch, raw: bytes, words: str
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    file = container.read((golden / "v1" / "photo-q5.tic").read_bytes())
    file.sections[sections.numbers()["origin"]] = raw
    path = tmp_path / "x.tic"
    path.write_bytes(container.write(file))
    assert words in run("info", path).out
    assert json.loads(run("info", path, "--json").out)["origin"] == raw.decode()


def test_info_of_a_file_without_installed_weights(run, golden: Path, monkeypatch) -> None:
    monkeypatch.delenv("TICODEC_WEIGHTS")
    path = golden / "v1" / "photo-q5.tic"
    assert "37eb2f07, not installed" in run("info", path).out
    assert json.loads(run("info", path, "--json").out)["weights_name"] is None


def test_info_does_not_need_a_sound_weights_folder(run, golden: Path, monkeypatch) -> None:
    monkeypatch.setenv("TICODEC_WEIGHTS", "/nonexistent")
    assert "37eb2f07, not installed" in run("info", golden / "v1" / "photo-q5.tic").out


def test_models(run) -> None:
    rows = {row["name"]: row for row in json.loads(run("models", "--json").out)}
    assert rows["tiny"]["weights"] == "37eb2f07"
    assert rows["tiny"]["qualities"] == [1, 8]
    assert all(row["installed"] for row in rows.values())
    table = run("models").out
    assert all(name in table for name in rows)


@pytest.mark.parametrize("switch", ["", "0"])
def test_models_shows_where_the_parts_of_a_model_run(run, monkeypatch, switch: str) -> None:
    monkeypatch.setenv("TICODEC_NATIVE", switch)
    native.module.cache_clear()
    kernels.module.cache_clear()
    try:
        there = native.active()
        assert not (there and switch)
        assert {row["native"] for row in json.loads(run("models", "--json").out)} == {there}
        path, transforms = run("models").out.splitlines()[-2:]
        extension, other = native.module(), kernels.module()
        words = "without the C extension"
        assert (f"({extension.INSTRUCTIONS[0]})" if extension else words) in path
        assert (f"({other.SETS[0][0]})" if other else words) in transforms
        for line in (path, transforms):
            assert ("TICODEC_NATIVE=0" in line) == bool(switch), "what turned the extension off"
    finally:
        native.module.cache_clear()
        kernels.module.cache_clear()


def test_the_table_of_models_fits_80_columns(run, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("TICODEC_WEIGHTS")  # the weights that ship have the longest names
    *lines, path, transforms = [line for line in run("models").out.splitlines() if line.strip()]
    assert path.startswith("entropy coding runs ")
    assert transforms.startswith("the transforms run ")
    assert max(map(len, lines)) <= 80
    for line in lines:
        assert line.endswith((" ", "─")), "its right edge is cut off"


def test_version(run) -> None:
    assert run("--version").out == f"ticodec {ticodec.__version__}\n"


def test_every_command_is_documented(run) -> None:
    from ticodec.cli.app import app

    page = (Path(__file__).parents[2] / "docs/command-line.md").read_text()
    for command in app.registered_commands:
        assert f"ticodec {command.name}" in page, command.name
        assert command.callback is not None
        assert command.callback.__doc__


@pytest.mark.parametrize(
    ("command", "default"),
    [
        ("encode", "4"),
        ("info", "512,000,000"),
        ("evaluate", "1,2,3,4,5,6,7,8"),
        ("train", "0.0001; icat, heads and vit: 0.001; icat's step 2: 0.0001"),
        ("compare", "4"),
    ],
)
def test_help_shows_defaults(run, monkeypatch, command: str, default: str) -> None:
    """Rich would read the brackets of a default as markup and not show them."""
    monkeypatch.setenv("COLUMNS", "200")
    assert f"[default: {default}]" in run(command, "--help").out


def test_help_of_train_lists_every_preset(run, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    words = re.findall(r"[\w-]+", run("train", "--help").out)
    assert {*PRESETS, *VITS} <= set(words)
