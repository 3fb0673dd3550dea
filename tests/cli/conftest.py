"""How the command-line tests run the command."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


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
