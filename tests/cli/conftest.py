"""What tests of the command have in common."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def encoded(photo: Path, run) -> Path:
    """A .tic file of the photo."""
    assert run("encode", photo, "-m", "tiny", "--quiet").code == 0
    return photo.with_suffix(".tic")
