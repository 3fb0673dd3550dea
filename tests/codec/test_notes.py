"""Notes reach everyone who encodes: Python callers, people at a terminal, scripts."""

from __future__ import annotations

import json
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import make_pixels

import ticodec
from ticodec import container as tic
from ticodec import sections
from ticodec.notes import note_of_size
from ticodec.picture import Picture

FRAMES = "2 further frames"


@pytest.fixture
def moving(tmp_path: Path) -> Path:
    """An animation of three frames."""
    frames = [Image.fromarray(make_pixels(48, 64, seed)) for seed in range(3)]
    path = tmp_path / "moving.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    return path


def test_python_gets_the_notes_with_the_picture(moving: Path) -> None:
    picture = ticodec.read_picture(moving)
    (note,) = picture.notes
    assert (note.kind, note.lost) == ("frames", True)
    assert FRAMES in note.text
    assert FRAMES in str(note)


def test_python_is_warned_once_unless_it_has_seen_the_notes(moving: Path, tiny) -> None:
    with pytest.warns(ticodec.TicodecWarning, match=FRAMES) as seen:
        data = ticodec.encode(moving, model="tiny")
    assert len(seen) == 1
    assert seen[0].filename == __file__
    with pytest.warns(ticodec.TicodecWarning, match=FRAMES) as seen:
        assert tiny.encode(moving) == data
    assert seen[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ticodec.encode(ticodec.read_picture(moving), model="tiny") == data


def test_python_is_not_warned_of_what_it_asked_for(tmp_path: Path, tiny) -> None:
    described = Image.Exif()
    described[270] = "a description"
    Image.fromarray(make_pixels(20, 30)).save(tmp_path / "a.jpg", exif=described)
    assert [note.kind for note in ticodec.read_picture(tmp_path / "a.jpg", strip=True).notes]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ticodec.encode(tmp_path / "a.jpg", model="tiny", strip=True)


def test_a_plain_photo_has_no_notes(photo: Path, tiny) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny.encode(photo)
        tiny.encode(Image.open(photo))
        tiny.encode(make_pixels(20, 30))
    assert ticodec.read_picture(photo).notes == []
    assert Picture(make_pixels(20, 30)).notes == []


def test_people_see_a_line_and_scripts_a_list(moving: Path, run) -> None:
    done = run("encode", moving, "-m", "tiny")
    assert done.code == 0
    (line,) = done.err.splitlines()
    assert line.startswith(f"ticodec: note: {moving}: {FRAMES}")
    done = run("encode", moving, "-m", "tiny", "-f", "--json")
    (note,) = json.loads(done.out)["notes"]
    assert note["kind"] == "frames"
    assert note["text"] in line
    assert done.err == ""
    done = run("encode", moving, "-m", "tiny", "-f", "--quiet")
    assert (done.out, done.err) == ("", "")


def test_a_file_that_grows_is_noted_but_loses_nothing(tmp_path: Path, run) -> None:
    random = np.random.default_rng(1).integers(0, 2, (8, 8), dtype=bool)
    out = BytesIO()
    Image.fromarray(random).save(out, "PNG")
    path = tmp_path / "dots.png"
    path.write_bytes(out.getvalue())
    done = run("encode", path, "-m", "tiny", "-q", 8, "--json")
    facts = json.loads(done.out)
    assert facts["bytes"] > len(out.getvalue())
    (note,) = facts["notes"]
    assert note["kind"] == "larger"
    assert f"{facts['bytes']:,} bytes instead of {len(out.getvalue()):,}" in note["text"]
    assert [one.lost for one in note_of_size(10, 11)] == [False]
    assert note_of_size(10, 10) == []


def test_the_location_alone_can_be_left_out(tmp_path: Path, run) -> None:
    """`--strip-location` and `--strip` work in the command, in batch and in Python."""
    image, exif = Image.fromarray(make_pixels(48, 64)), Image.Exif()
    exif[0x010F] = "maker"
    exif.get_ifd(0x8825).update({1: "N", 2: (50.0, 4.0, 30.0), 3: "E", 4: (8.0, 14.0, 2.0)})
    folder = tmp_path / "in"
    folder.mkdir()
    path = folder / "here.jpg"
    image.save(path, exif=exif, quality=95)

    def found(data: bytes) -> tuple[str | None, dict]:
        kept = Image.Exif()
        kept.load(ticodec.decode(data).info.get("exif", b""))
        return kept.get(0x010F), kept.get_ifd(0x8825)

    for flag, wanted in (("", "maker"), ("--strip-location", "maker"), ("--strip", None)):
        words = [flag] if flag else []
        assert run("encode", path, tmp_path / "one.tic", "-f", "-m", "tiny", *words).code == 0
        coded = (tmp_path / "one.tic").read_bytes()
        maker, place = found(coded)
        assert (maker, bool(place)) == (wanted, not flag), flag
        target = tmp_path / f"out{flag}"
        assert run("batch", "encode", folder, target, "-m", "tiny", *words).code == 0
        of_batch = tic.read((target / "here.tic").read_bytes())
        del of_batch.sections[sections.numbers()["origin"]]
        assert tic.write(of_batch) == coded
        wishes = {flag[2:].replace("-", "_"): True} if flag else {}
        picture = ticodec.read_picture(path, **wishes)
        assert ticodec.encode(picture, model="tiny") == coded
        assert [note.lost for note in picture.notes] == ([False] if flag else [])
