"""Fixtures of the tests of the command."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def encoded(photo: Path, run) -> Path:
    """The photo encoded as a .tic file."""
    assert run("encode", photo, "-m", "tiny", "--quiet").code == 0
    return photo.with_suffix(".tic")
