"""An installation without extras: the core works, and other commands say which extra they need.

Importing a package of any extra is made to fail, in worker processes too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support import ROOT

from ticodec.errors import UsageError
from ticodec.evaluation.packages import MODULES
from ticodec.extras import check_extra, of_extra

#: The packages of the extras, and packages that these depend on and that are easily imported by
#: mistake.
BLOCKED = (
    *("bjontegaard", "compressai", "jinja2", "matplotlib", "pytorch_msssim"),
    *("torchvision", "gcsfs", "pyarrow", "ray", "s3fs", "pillow_heif", "pillow_jxl"),
    *("aiobotocore", "pandas", "scipy", "skimage", "torch_geometric"),
)
#: The content of sitecustomize.py, which Python imports when it starts.
BLOCK = f"import sys\nsys.modules.update(dict.fromkeys({BLOCKED!r}))\n"
#: Runs each command of a JSON list. Prints a JSON list of their exit codes, outputs and errors.
PROGRAM = """if True:
    import contextlib, io, json, os, sys
    from ticodec.cli.app import main

    os.dup2 = lambda *_: None  # a command that fails closes stdout, which later commands need
    done = []
    for words in json.loads(sys.argv[1]):
        sys.argv[1:] = words
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as stop:
                done.append([stop.code or 0, out.getvalue(), err.getvalue()])
    print(json.dumps(done))
"""


def bare(folder: Path, *commands: list[object]) -> list[tuple[int, str, str]]:
    """Run commands in one process without the extras.

    Returns the exit code, the output and the errors of each.
    """
    (folder / "sitecustomize.py").write_text(BLOCK)
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    words = json.dumps([list(map(str, command)) for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, words],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [tuple(one) for one in json.loads(done.stdout)]


def test_the_core_needs_no_extra(tmp_path: Path, photo: Path) -> None:
    coded, out = tmp_path / "photo.tic", tmp_path / "out"
    commands: list[list[object]] = [
        ["encode", photo, coded, "-m", "tiny-icat"],
        ["decode", coded, tmp_path / "decoded.png"],
        ["classify", coded, "--json"],
        ["info", coded, "--json"],
        ["models", "--json"],
        ["batch", "encode", photo.parent, out, "-m", "tiny", "--include", "*.png", "--jobs", 2],
        ["train", "--help"],
        ["evaluate", "--help"],
    ]
    for command, (code, printed, errors) in zip(commands, bare(tmp_path, *commands), strict=True):
        assert (code, bool(printed)) == (0, True), (command, errors)
    assert (tmp_path / "decoded.png").is_file()
    assert list(out.rglob("*.tic"))


def test_a_codec_is_trained_without_extras(tmp_path: Path, photo: Path) -> None:
    run = tmp_path / "run"
    train = ["train", "--model", "tic-lite", "--data", photo.parent, "--out", run]
    train += ["--crop", 64, "--batch", 1, "--max-steps", 1, "--device", "cpu"]
    ((code, _, errors),) = bare(tmp_path, train)
    assert code == 0, errors


def test_a_missing_extra_is_reported_in_one_line(tmp_path: Path, photo: Path) -> None:
    folder, out = photo.parent, tmp_path / "out"
    cases: list[tuple[str, list[object]]] = [
        ("evaluate", ["evaluate", folder, "-m", "tiny"]),
        ("evaluate", ["compare", photo, "-m", "tiny"]),
        ("train", ["train", "--model", "icat-lite", "--data", folder]),
        ("ray", ["batch", "encode", folder, out, "-m", "tiny", "--engine", "ray"]),
        ("parquet", ["batch", "classify", folder, tmp_path / "labels.parquet"]),
        ("s3", ["batch", "encode", "s3://photos", out, "-m", "tiny"]),
        ("evaluate", ["encode", photo, "-m", "tiny", "--target-ms-ssim", "15dB"]),
        ("jxl", ["compare", photo, "-m", "tiny", "--against", "jpegxl"]),
    ]
    found = bare(tmp_path, *(command for _, command in cases))
    for (extra, command), (code, printed, errors) in zip(cases, found, strict=True):
        assert (code, printed, errors.count("\n")) == (2, "", 1), (command, printed, errors)
        assert f"pip install 'ticodec[{extra}]'" in errors
        assert str(photo) not in errors, "the file is not what is wrong"


def test_peers_of_compressai_say_which_python_has_them(tmp_path: Path, monkeypatch) -> None:
    from importlib.metadata import PackageNotFoundError

    from ticodec.evaluation.peers import compressai_peers, make_peer

    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(compressai_peers, "version", version)
    with pytest.raises(UsageError, match=r"^mbt2018 needs CompressAI, .* Python below 3\.13"):
        make_peer("mbt2018")


def test_an_import_that_fails_names_the_extra_and_the_cause() -> None:
    line = r"^a toy needs .*: pip install 'ticodec\[toys\]' \(No module named 'not_there'\)$"
    with pytest.raises(UsageError, match=line), of_extra("toys", "a toy"):
        import not_there  # noqa: F401
    check_extra("toys", "a toy", "json")
    with pytest.raises(UsageError, match=r"^a toy needs .* \(no not_there\)$"):
        check_extra("toys", "a toy", "json", "not_there")


def test_checked_packages_match_the_project_file() -> None:
    """The packages that are checked before an evaluation begins are those of its extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    names = {line.split(">=")[0].replace("-", "_") for line in extras["evaluate"]}
    assert names - {"compressai"} == set(MODULES)
    assert not {line.split(">=")[0] for line in project["dependencies"]} & set(BLOCKED)
