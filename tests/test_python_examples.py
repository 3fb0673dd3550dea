"""The Python examples in the documents run as written. docs/python.md has every public name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image
from support import ROOT, SAMPLES

import ticodec
from ticodec import memory, pillow

PYTHON = ROOT / "docs" / "python.md"
EXAMPLES = {
    path.relative_to(ROOT).as_posix(): blocks
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
    if (blocks := re.findall(r"^```python\n(.*?)^```", path.read_text("utf-8"), re.S | re.M))
}


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with photo.jpg and two more photos in PHOTOS."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TICODEC_WEIGHTS")
    monkeypatch.setenv(memory.LIMIT, "")  # undoes the limits that examples set
    monkeypatch.setattr(pillow, "DEVICE", "cpu")
    with Image.open(SAMPLES / "kodim23.png") as image:
        photo = image.resize((144, 96))
    (tmp_path / "PHOTOS").mkdir()
    for name in ("photo.jpg", "PHOTOS/1.jpg", "PHOTOS/2.jpg"):
        photo.save(tmp_path / name)
    return tmp_path


def run(document: str) -> dict:
    """Run the blocks of a document, and return the names that they define.

    The blocks share their names, as if they were run one after the other in one session.
    """
    names: dict = {}
    for block in EXAMPLES[document]:
        exec(compile(block, document, "exec"), names)
    return names


@pytest.mark.parametrize("document", sorted({*EXAMPLES} - {"docs/python.md"}))
def test_examples_run(document: str, photos: Path) -> None:
    run(document)


def test_examples_of_the_python_page_do_what_they_say(photos: Path) -> None:
    names = run("docs/python.md")
    assert names["part"].size == (64, 48)
    assert names["small"].size == (18, 12)
    assert len(names["by_size"]) <= 50_000
    assert type(names["best"]) is ticodec.Label
    assert names["picture"].pixels.shape == (96, 144, 3)
    assert names["image"].size == (64, 43)  # the thumbnail
    assert (photos / "PHOTOS" / "2.tic").exists()


def test_the_reference_has_every_public_name() -> None:
    text = PYTHON.read_text("utf-8")
    table = "\n".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    generated = re.findall(r"^\.\. (?:auto|py:)\w+:: (\w+)", text, re.M)
    assert sorted(generated) == sorted(ticodec.__all__)
    assert set(ticodec.__all__) <= set(re.findall(r"`(\w+)`", table))
