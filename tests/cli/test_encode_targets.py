"""`encode --target-…`: values that it accepts and refuses, and what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ticodec
from ticodec.psnr import psnr

TINY = ("-m", "tiny")


@pytest.fixture
def sizes(photo: Path) -> tuple[int, int]:
    """Bytes of the smallest and of the largest .tic file of the photo."""
    small, large = (
        len(ticodec.encode(photo, quality=quality, model="tiny", device="cpu"))
        for quality in (1, 8)
    )
    return small, large


def test_a_size(run, photo: Path, sizes: tuple[int, int]) -> None:
    wanted = sum(sizes) // 2
    done = run("encode", photo, *TINY, "--target-size", f"{wanted / 1000}k")
    size = photo.with_suffix(".tic").stat().st_size
    assert 0.98 * wanted <= size <= wanted
    quality = ticodec.info(photo.with_suffix(".tic"))["quality"]
    assert f" {size:,} bytes, " in done.out
    assert f" bpp, quality {quality:.2f}, " in done.out
    assert done.err == ""


def test_a_psnr_as_json(run, photo: Path, tmp_path: Path) -> None:
    tic, png = tmp_path / "a.tic", tmp_path / "a.png"
    assert run("encode", photo, tic, *TINY, "-q", 5).code == 0
    assert run("decode", tic, png).code == 0
    wanted = round(psnr(*(np.asarray(Image.open(path)) for path in (photo, png))), 2) - 0.05
    done = run("encode", photo, tic, *TINY, "--target-psnr", f"{wanted}dB", "-f", "--json")
    facts = json.loads(done.out)
    assert run("decode", tic, png, "-f").code == 0
    reached = psnr(*(np.asarray(Image.open(path)) for path in (photo, png)))
    assert wanted <= reached <= wanted + 0.1
    target = facts["target"]
    assert (target["measure"], target["wanted"]) == ("psnr", pytest.approx(wanted))
    assert target["reached"] == pytest.approx(reached, abs=1e-4)
    assert target["trials"] >= 1
    assert target["out_of_reach"] is False
    assert 1 < facts["quality"] < 8


def test_out_of_reach(run, photo: Path, sizes: tuple[int, int]) -> None:
    """With -f the nearest file is written, and the output says that it misses the target."""
    words = ("encode", photo, *TINY, "--target-size", "30B")
    said = f"the smallest file has {sizes[0]:,} bytes (quality 1); give --force to take that file"
    run(*words).fails(1, f"{photo}: 30 bytes cannot be reached; {said}")
    assert not photo.with_suffix(".tic").exists()
    done = run(*words, "-f")
    assert done.code == 0
    assert ", quality 1.00, 30 bytes out of reach, " in done.out
    assert photo.with_suffix(".tic").stat().st_size == sizes[0]
    done = run(*words, "-f", "--json")
    assert json.loads(done.out)["target"]["out_of_reach"] is True
    done = run("encode", photo, *TINY, "--target-psnr", "90", "-f")
    assert ", quality 8.00, " in done.out
    assert " dB PSNR, 90 dB PSNR out of reach, " in done.out


def test_a_limit_beyond_all_qualities(run, photo: Path, sizes: tuple[int, int]) -> None:
    done = run("encode", photo, *TINY, "--target-size", "10MB")
    assert (done.code, photo.with_suffix(".tic").stat().st_size) == (0, sizes[1])
    assert ", quality 8.00 (the best), " in done.out
    done = run("encode", photo, *TINY, "--target-psnr", "5", "-f")
    assert ", quality 1.00 (the lowest), " in done.out


def test_wrong_targets(run, photo: Path) -> None:
    def fails(*words: object) -> None:
        *options, said = words
        run("encode", photo, *TINY, *options).fails(2, said)
        assert not photo.with_suffix(".tic").exists()

    fails("-q", 4, "--target-size", "9k", "--quality and --target-size exclude each other; leave")
    fails("--target-bpp", 1, "--target-psnr", 30, "--target-bpp and --target-psnr exclude each")
    fails("--target-size", "big", "--target-size takes a size such as 200k, 1.5MB or 195KiB, not ")
    fails("--target-size", "50", "--target-size 50: write a unit: 50k is 50,000 bytes, 50B is 50 ")
    fails("--target-ms-ssim", "1", "--target-ms-ssim takes dB, such as 15dB, or a ratio below 1")
    fails("--target-ms-ssim", "15dB", "MS-SSIM needs 161 pixels each way, but the image has 90×70")
    fails("--effort", 0, "--effort must be at least 1, not 0")
    fails("--effort", 10, "--effort must be from 1 to 9, not 10")


def test_effort(run, photo: Path, tmp_path: Path) -> None:
    """Another effort gives other bytes, which are the same as from the library."""
    assert run("encode", photo, tmp_path / "a.tic", *TINY, "--effort", 2).code == 0
    usual, more = (
        ticodec.encode(photo, effort=effort, model="tiny", device="cpu") for effort in (1, 2)
    )
    assert (tmp_path / "a.tic").read_bytes() == more != usual
