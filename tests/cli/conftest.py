"""How the command-line tests run the command."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ticodec.cli import app


class Result:
    """Exit code and output of one run."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    def fails(self, code: int, *words: str) -> None:
        """It failed with this code and exactly one line that says all of this."""
        assert self.code == code, (self.code, self.out, self.err)
        lines = self.err.strip().splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("ticodec: ")
        for word in words:
            assert word in lines[0]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., Result]:
    """Run `ticodec` in this process: run("encode", path, "-q", 5)."""

    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["ticodec", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as done:
            app.main()
        captured = capsys.readouterr()
        return Result(int(done.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture
def shell() -> Callable[..., subprocess.CompletedProcess]:
    """Run `ticodec` as a process of its own."""

    def call(*arguments: object, **options) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "ticodec.cli.app", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, **options)

    return call


@pytest.fixture
def encoded(photo: Path, run) -> Path:
    """A .tic file of the photo."""
    assert run("encode", photo, "-m", "tiny", "--quiet").code == 0
    return photo.with_suffix(".tic")
