"""JPEG files whose end is missing. If pixels are missing, they are refused unless allowed."""

from __future__ import annotations

import re
import time
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from support import make_pixels

import ticodec
from ticodec.errors import BadInputError
from ticodec.reading.opening import open_image
from ticodec.reading.options import Reading

ALLOWED = Reading(allow_truncated=True)
KINDS = {
    "plain": {},
    "fine": {"quality": 100, "subsampling": 0},
    "progressive": {"progressive": True},
    "progressive-fine": {"progressive": True, "quality": 100},
    "restarts": {"restart_marker_blocks": 3},
    "restart-rows": {"restart_marker_rows": 1},
}
LINE = (
    r"^damaged image: the end of the file is missing, with {}about {} of 90 rows \({} %\); encode "
)


def jpeg(mode: str = "RGB", **options) -> bytes:
    """A JPEG of 120×90 pixels, which in colour has rows of blocks of 16×16."""
    out = BytesIO()
    Image.fromarray(make_pixels(90, 120)).convert(mode).save(out, "JPEG", **options)
    return out.getvalue()


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_without_its_end_marker_is_complete(kind: str, mode: str) -> None:
    data = jpeg(mode, **KINDS[kind])
    whole, _ = open_image(data)
    for short in (data[:-1], data[:-2], data[:-2] + b"\xff\xff", data[:-2] + bytes(1000)):
        image, notes = open_image(short)
        assert notes == []
        assert image.mode == mode
        np.testing.assert_array_equal(pixels(image), pixels(whole))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_missing_pixels_are_refused_or_noted(kind: str, mode: str) -> None:
    data = jpeg(mode, **KINDS[kind])
    whole, _ = open_image(data)
    refusals = 0
    for cut in (*range(3, 40), *range(40, len(data) - 800, 497)):
        image, notes = open_image(data[:-cut], reading=ALLOWED)
        if np.array_equal(pixels(image), pixels(whole)):
            continue  # libjpeg's guess of the missing bits is right
        assert [(note.kind, note.lost) for note in notes] == [("truncated", True)], cut
        with pytest.raises(BadInputError, match=r"`allow_truncated`") as refused:
            open_image(data[:-cut])
        assert notes[0].text in str(refused.value)
        refusals += 1
    assert refusals >= 10


def test_the_note_says_how_much_is_missing() -> None:
    data = jpeg(quality=90)
    whole, _ = open_image(data)
    for part in (0.9, 0.6, 0.4):
        short = data[: int(part * len(data))]
        image, (note,) = open_image(short, reading=ALLOWED)
        found = re.search(r"about (\d+) of 90 rows \((\d+) %\)$", note.text)
        lost = int(found[1])
        assert abs(lost / 90 - int(found[2]) / 100) < 0.01
        assert abs(lost / 90 - (1 - part)) < 0.3
        # The smooth upscaling of colours reads one row ahead.
        kept = slice(0, 90 - lost - 1)
        np.testing.assert_array_equal(pixels(image)[kept], pixels(whole)[kept])
        assert (pixels(image)[-4:, -4:] == 128).all(), "what is missing is grey"


def test_missing_scans_of_a_progressive_jpeg_are_not_overlooked() -> None:
    data = jpeg(progressive=True)
    starts = [match.start() for match in re.finditer(rb"\xff\xda", data)]
    assert len(starts) > 5
    for start in starts[1:]:
        with pytest.raises(BadInputError, match=LINE.format("details of ", 90, 100)):
            open_image(data[:start])
    with pytest.raises(BadInputError, match="ends before its pixels begin"):
        open_image(data[: starts[0]])


def test_zeros_in_place_of_the_end_count_as_missing() -> None:
    data = jpeg()
    half = len(data) * 2 // 3
    with pytest.raises(BadInputError, match=r"file is missing, with about [345]\d of 90"):
        open_image(data[:half] + bytes(len(data) - half))


def test_a_file_that_ends_with_a_restart_interval() -> None:
    """The next bytes to decode would be those after a restart marker."""
    data = jpeg(restart_marker_rows=1)
    marks = [match.start() for match in re.finditer(rb"\xff[\xd0-\xd7]", data)]
    for number, mark in enumerate(marks, 1):
        for end in (mark, mark + 1, mark + 2):
            _, (note,) = open_image(data[:end], reading=ALLOWED)
            lost = int(re.search(r"about (\d+) of", note.text)[1])
            assert 0 <= lost - (90 - 16 * number) <= 1, "from the next row of blocks on"


def test_bytes_after_the_end_change_nothing() -> None:
    data = jpeg()
    for behind in (b"x" * 100, b"\xff", bytes(5), jpeg()[:-50]):
        image, notes = open_image(data + behind)
        np.testing.assert_array_equal(pixels(image), pixels(open_image(data)[0]))
        assert notes == []


def test_a_file_of_several_pictures_cut_in_its_first_or_a_later_one() -> None:
    out = BytesIO()
    first, second = (Image.fromarray(make_pixels(90, 120, seed)) for seed in (1, 2))
    first.save(out, "MPO", save_all=True, append_images=[second])
    data = out.getvalue()
    end = data.index(b"\xff\xd9\xff\xd8") + 2
    whole, _ = open_image(data)
    assert whole.format == "MPO"
    for short in (data[:-300], data[: end - 2]):
        image, notes = open_image(short)
        np.testing.assert_array_equal(pixels(image), pixels(whole))
        assert notes == []
    with pytest.raises(BadInputError, match=LINE.format("", "..?", "..?")):
        open_image(data[: end - 300])


def test_the_size_is_checked_once_and_before_decoding(monkeypatch) -> None:
    seen = []
    open_image(jpeg()[:-300], check=lambda *size: seen.append(size), reading=ALLOWED)
    assert seen == [(90, 120)]
    with pytest.raises(BadInputError, match="more than the limit"):
        open_image(jpeg()[:-300], 100, reading=ALLOWED)


def test_other_formats_and_other_damage_are_still_refused() -> None:
    out = BytesIO()
    Image.fromarray(make_pixels(90, 120)).save(out, "PNG")
    with pytest.raises(BadInputError, match=r"^damaged image: "):
        open_image(out.getvalue()[:-3000], reading=ALLOWED)


def test_python_warns_and_decodes_if_it_is_allowed() -> None:
    short = jpeg()[:-500]
    with pytest.raises(BadInputError, match="`allow_truncated`"):
        ticodec.encode(short, model="tiny")
    with pytest.warns(ticodec.TicodecWarning, match="end of the file is missing"):
        ticodec.encode(short, model="tiny", allow_truncated=True)
    (note,) = ticodec.read_picture(short, allow_truncated=True).notes
    assert note.kind == "truncated"


def test_the_command_names_its_flag(tmp_path, run) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg()[:-500])
    (tmp_path / "b.jpg").write_bytes(jpeg()[:-2])
    run("encode", tmp_path / "a.jpg", "-m", "tiny").fails(3, "a.jpg", "--allow-truncated")
    # `classify` does not have the option.
    run("classify", tmp_path / "a.jpg").fails(3, "encode it with --allow-truncated")
    taken = run("encode", tmp_path / "a.jpg", "-m", "tiny", "--allow-truncated")
    assert (taken.code, "end of the file is missing" in taken.err) == (0, True)
    assert run("encode", tmp_path / "b.jpg", "-m", "tiny").code == 0


def test_an_end_of_erased_memory_is_read_quickly() -> None:
    """A camera's card that has lost the end of a file returns bytes 0xFF."""
    data = jpeg()
    started = time.perf_counter()
    image, notes = open_image(data[:-2] + b"\xff" * 200_000)
    assert time.perf_counter() - started < 2
    assert notes == []
    np.testing.assert_array_equal(pixels(image), pixels(open_image(data)[0]))
