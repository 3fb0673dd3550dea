"""`decode` and `batch decode` into every format, and which outputs are up to date."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from batch_support import make_photos, rows, tree
from PIL import Image
from support import make_pixels

import ticodec
from ticodec.cli.flags import with_flags
from ticodec.writers import FORMATS, suffixes

TINY = ("-m", "tiny")


@pytest.fixture
def everything(golden: Path) -> Path:
    """A file with alpha, ICC, EXIF and XMP."""
    return golden / "v1" / "everything.tic"


@pytest.mark.parametrize("suffix", suffixes())
def test_the_suffix_decides_the_format(run, encoded: Path, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"out{suffix.upper()}"
    facts = json.loads(run("decode", encoded, target, "--json", "--device", "cpu").out)
    assert facts["bytes"] == target.stat().st_size
    expected = np.asarray(ticodec.decode(encoded, device="cpu")).astype(int)
    with Image.open(target) as image:
        assert suffix in (f".{image.format.lower()}", ".jpg", ".tif")
        difference = abs(np.asarray(image.convert("RGB")) - expected).max()
    assert difference <= (24 if suffix in (".jpg", ".jpeg", ".avif") else 0)


@pytest.mark.parametrize("format", FORMATS)
def test_format_decides_the_suffix(run, encoded: Path, photo: Path, format: str) -> None:
    photo.unlink()
    assert run("decode", encoded, "--format", format).code == 0
    assert encoded.with_suffix(f".{format}").exists()


def test_stdout_is_a_png_by_default(shell, encoded: Path) -> None:
    for words, format in (((), "PNG"), (("--format", "jpg"), "JPEG")):
        done = shell("decode", "-", *words, input=encoded.read_bytes())
        assert Image.open(io.BytesIO(done.stdout)).format == format, done.stderr


def test_metadata_and_alpha_are_kept(run, everything: Path, tmp_path: Path) -> None:
    expected = ticodec.decode(everything, device="cpu")
    for format in ("png", "webp", "avif", "tif"):
        target = tmp_path / f"out.{format}"
        assert run("decode", everything, target).code == 0
        with Image.open(target) as image:
            assert image.info["icc_profile"] == expected.info["icc_profile"]
            assert image.info["xmp"] == expected.info["xmp"]
            alpha = np.asarray(image.convert("RGBA").getchannel("A")).astype(int)
        assert abs(alpha - np.asarray(expected.getchannel("A"))).max() <= 12


def test_a_format_that_cannot_hold_a_picture(run, encoded, everything, tmp_path) -> None:
    jpeg = tmp_path / "out.jpg"
    words = ("transparent", "JPEG cannot keep", ".png, .webp, .avif, .tif")
    run("decode", everything, jpeg).fails(2, "everything.tic", *words)
    assert not jpeg.exists()
    png = tmp_path / "out.png"
    run("decode", encoded, png, "--output-quality", 80).fails(2, "PNG", "no --output-quality")
    run("decode", encoded, jpeg, "--output-quality", 101).fails(2, "--output-quality must be from")
    run("decode", encoded, png, "--format", "jpg").fails(2, "must end in .jpg or .jpeg")
    run("decode", encoded, "--format", "gif").fails(2, "'gif'; known: png, webp, jpg, avif, tif")


def test_output_quality(run, encoded: Path, tmp_path: Path) -> None:
    sizes = []
    for quality in (10, 90):
        target = tmp_path / f"{quality}.jpg"
        assert run("decode", encoded, target, "--output-quality", quality).code == 0
        sizes.append(target.stat().st_size)
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("format", FORMATS)
def test_a_tree_in_another_format_is_left_alone_when_it_is_up_to_date(
    run, tmp_path: Path, format: str
) -> None:
    source, target, report = tmp_path / "in", tmp_path / "out", tmp_path / "r.json"
    make_photos(tmp_path / "photos", ["a.png", "b.png"])
    assert run("batch", "encode", tmp_path / "photos", source, *TINY, "-j", 1).code == 0
    arguments = ("batch", "decode", source, target, "--format", format, "-j", 1)

    def states(*more: object) -> list[str]:
        assert run(*arguments, "--report", report, *more).code in (0, 1)
        return [row["status"] for _, row in sorted(rows(report).items())]

    assert states() == ["done", "done"]
    before = tree(target)
    assert sorted(before) == [f"a.{format}", f"b.{format}"]
    assert states() == ["skipped", "skipped"]
    # A changed source is decoded again. A damaged output counts as a file that batch did not make.
    (source / "a.tic").write_bytes((source / "b.tic").read_bytes())
    (target / f"b.{format}").write_bytes(before[f"b.{format}"][:-5])
    assert states() == ["done", "failed"]
    assert "was not made by ticodec batch" in rows(report)["b.tic"]["error"]
    assert states("-f") == ["skipped", "done"]
    # One flipped bit is noticed in formats whose mark has a checksum, see docs/batch.md.
    middle = len(before[f"b.{format}"]) // 2
    damaged = bytearray(before[f"b.{format}"])
    damaged[middle] ^= 1
    (target / f"b.{format}").write_bytes(damaged)
    assert states() == ["skipped", "skipped" if format == "png" else "done"]
    # An empty file may have been made by another program.
    (target / f"b.{format}").write_bytes(b"")
    assert states() == ["skipped", "failed"]
    # An image of that name that batch did not make is left alone.
    Image.fromarray(make_pixels(9, 9)).save(target / f"b.{format}")
    assert states() == ["skipped", "failed"]
    if format in ("jpg", "avif", "webp"):
        assert states("-f", "--output-quality", 30) == ["done", "done"]
        assert states("--output-quality", 30) == ["skipped", "skipped"]
        assert states("--output-quality", 31) == ["done", "done"]


def test_a_tree_with_a_picture_that_the_format_cannot_hold(run, everything, tmp_path) -> None:
    source, report = tmp_path / "in", tmp_path / "r.json"
    source.mkdir()
    (source / "a.tic").write_bytes(everything.read_bytes())
    (source / "b.tic").write_bytes((everything.parent / "photo-q5.tic").read_bytes())
    arguments = ("batch", "decode", source, tmp_path / "out", "-j", 1, "--report", report)
    assert run(*arguments, "--format", "jpg").code == 1
    found = rows(report)
    assert [row["status"] for row in found.values()] == ["failed", "done"]
    assert "JPEG cannot keep" in found["a.tic"]["error"]
    run(*arguments, "--format", "gif").fails(2, "unknown output format 'gif'")
    run(*arguments, "--output-quality", 5).fails(2, "no --output-quality")


def test_messages_of_the_library_name_the_flags(run, photo: Path, tmp_path: Path) -> None:
    assert with_flags("raise `max_pixels`, `ticodec x` and `y`") == (
        "raise --max-pixels, `ticodec x` and `y`"
    )
    for name in ("a/`quality`", "`quality`.png", "x`quality`", "my `quality`/b"):
        assert with_flags(f"{name}: `name` is bad") == f"{name}: --name is bad"
    assert with_flags("a `quality` b: `name`", names=["a `quality` b"]) == "a `quality` b: --name"
    report = tmp_path / "r.json"
    arguments = ("batch", "encode", photo, tmp_path / "out", *TINY, "-j", 1, "--report", report)
    done = run(*arguments, "--max-pixels", 100)
    assert "raise --max-pixels" in done.err
    assert "`" not in done.err
    (row,) = rows(report).values()
    assert "raise --max-pixels" in row["error"]
