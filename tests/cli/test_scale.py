"""`decode --scale` as a user runs it, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from support import make_pixels


@pytest.fixture
def tic(run, photo: Path) -> Path:
    """A file of 90×70 pixels."""
    assert run("encode", photo, "-m", "tiny").code == 0
    return photo.with_suffix(".tic")


@pytest.mark.parametrize(
    ("scale", "size"), [("1/2", (45, 35)), ("1/4", (23, 18)), ("1/8", (12, 9))]
)
def test_smaller_pictures(run, tic: Path, tmp_path: Path, scale: str, size: tuple) -> None:
    out = tmp_path / "small.png"
    facts = json.loads(run("decode", tic, out, "--scale", scale, "--json").out)
    assert (facts["width"], facts["height"]) == size
    assert Image.open(out).size == size


@pytest.mark.parametrize(
    ("scale", "hint"),
    [("1/3", ""), ("8", "; write 1/8"), ("0.5", "; write 1/2"), ("1", ""), ("half", "")],
)
def test_other_scales_are_refused(run, tic: Path, scale: str, hint: str) -> None:
    message = f"--scale must be 1/2, 1/4 or 1/8, not {scale!r}{hint}\n"
    done = run("decode", tic, "-f", "--scale", scale)
    done.fails(2)
    assert message in done.err


def test_a_format_needs_to_hold_only_the_smaller_picture(run, tmp_path: Path) -> None:
    """A side of a WebP has at most 16,383 pixels."""
    photo = tmp_path / "wide.png"
    Image.fromarray(make_pixels(2, 16400)).save(photo)
    assert run("encode", photo, "-m", "tiny").code == 0
    tic, out = photo.with_suffix(".tic"), tmp_path / "wide.webp"
    run("decode", tic, out).fails(2, "16,383")
    assert run("decode", tic, out, "--scale", "1/2").code == 0
    assert Image.open(out).size == (8200, 1)
