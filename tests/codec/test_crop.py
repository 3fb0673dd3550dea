"""Decoding a part of an image (crop)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import make_pixels

import ticodec
from ticodec.codec import Codec
from ticodec.crop import HALO, Box, box_of, latents_of
from ticodec.errors import UsageError
from ticodec.picture import Picture
from ticodec.psnr import psnr

#: Parts of a photo of 768×512: at corners, at an edge, inside, one pixel, and the whole.
PARTS = [(0, 0, 90, 70), (668, 412, 100, 100), (250, 0, 60, 512), (301, 203, 150, 133)]
PARTS += [(384, 256, 1, 1), (767, 511, 1, 1), (0, 0, 768, 512)]


def inside(pixels: np.ndarray, crop: tuple[int, ...]) -> np.ndarray:
    x, y, width, height = crop
    return pixels[y : y + height, x : x + width]


def test_parts_of_a_photo_equal_those_of_the_whole(sample: Path) -> None:
    codec = ticodec.load("tic-lite", device="cpu")
    data = codec.encode(sample, 5)
    whole = codec.decode(data).pixels
    for crop in PARTS:
        part = codec.decode(data, crop=crop).pixels
        expected = inside(whole, crop)
        assert part.shape == expected.shape
        assert psnr(part, expected) > 60
        assert np.abs(part.astype(int) - expected).max() <= 1


def test_parts_of_a_joint_models_photo(joint, sample: Path) -> None:
    """The joint model's Transformer reads all latents for any part."""
    data = joint.encode(sample, 2)
    whole = joint.decode(data).pixels
    for crop in PARTS[:4]:
        assert psnr(joint.decode(data, crop=crop).pixels, inside(whole, crop)) > 60


def test_the_work_depends_on_the_size_of_the_part(tiny, monkeypatch) -> None:
    """64×64 pixels with a halo of 320 around them are at most 832×768 of the 832×1024 pixels."""
    data = tiny.encode(make_pixels(832, 1024))
    sizes = []
    run = tiny.g_s.run

    def counted(source, size, take):
        sizes.append(size[:2])
        return run(source, size, take)

    monkeypatch.setattr(tiny.g_s, "run", counted)
    for crop in ((0, 0, 64, 64), (500, 400, 64, 64), (960, 768, 64, 64), (0, 0, 1024, 832)):
        tiny.decode(data, crop=crop)
    assert sizes == [(24, 24), (48, 48), (24, 24), (52, 64)]


@pytest.mark.parametrize("crop", [(3, 2, 40, 30), (0, 0, 90, 70), (89, 69, 1, 1)])
def test_a_part_has_alpha_and_metadata(tiny, crop: tuple[int, ...]) -> None:
    alpha = make_pixels(70, 90, seed=1)[..., 0]
    metadata = {"icc": b"profile", "exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0", "xmp": b"<x/>"}
    data = tiny.encode(Picture(make_pixels(70, 90), True, alpha, metadata))
    part = tiny.decode(data, crop=crop)
    assert np.array_equal(part.alpha, inside(alpha, crop))
    assert part.metadata == metadata
    image = ticodec.decode(data, crop=crop, device="cpu")
    assert (image.mode, image.size) == ("LA", crop[2:])
    assert image.info["icc_profile"] == b"profile"


@pytest.mark.parametrize(
    ("crop", "message"),
    [
        ((0, 0, 91, 70), r"image of 90×70 pixels, but 91×70 pixels from \(0, 0\) do not"),
        ((0, 0, 90, 71), "must lie within the image"),
        ((80, 0, 11, 1), "must lie within the image"),
        ((0, 70, 1, 1), "must lie within the image"),
        ((-1, 0, 5, 5), "must have x 0 or more, not -1"),
        ((0, 0, 0, 5), "must have width 1 or more, not 0"),
        ((0, 0, 5, -5), "must have height 1 or more, not -5"),
        ((0, 0, 5.5, 5), "four whole numbers"),
        ((0, 0, 5), "four whole numbers"),
        ("0055", "four whole numbers"),
        (5, "four whole numbers"),
    ],
)
def test_impossible_parts(tiny, picture, crop: object, message: str) -> None:
    data = tiny.encode(picture(70, 90))
    for decode in (tiny.decode, ticodec.decode):
        with pytest.raises(UsageError, match=message) as error:
            decode(data, crop=crop)
        assert str(error.value).startswith("`crop` must")


def test_impossible_parts_are_refused_before_loading_a_network(monkeypatch, tiny, picture) -> None:
    monkeypatch.setattr(Codec, "__init__", None)
    with pytest.raises(UsageError, match="must lie within"):
        ticodec.decode(tiny.encode(picture(70, 90)), crop=(0, 0, 99, 1), device="cpu")


def test_latents_begin_and_end_at_windows_or_edges() -> None:
    """This holds for every part of a row of 41 latents, whose last one fills no window."""
    for start in range(0, 630, 7):
        for length in (1, 9, 64, 640 - start):
            box = box_of((start, 0, min(length, 640 - start), 1), 1, 640)
            _, columns = latents_of(box, 4, 41)
            assert columns.start % 4 == 0
            assert columns.stop % 4 == 0 or columns.stop == 41
            assert columns.start == 0 or start - columns.start * 16 >= HALO
            assert columns.stop == 41 or columns.stop * 16 - (start + box.width) >= HALO
    assert box_of(None, 7, 9) == Box(0, 0, 9, 7)


def test_the_command_crops(run, sample: Path, photo: Path, tmp_path: Path) -> None:
    tic, png = tmp_path / "a.tic", tmp_path / "a.png"
    assert run("encode", photo, tic, "-m", "tiny").code == 0
    done = run("decode", tic, png, "--crop", 10, 20, 30, 40, "--json")
    assert done.code == 0
    assert '"width": 30,\n  "height": 40' in done.out
    assert np.array_equal(
        np.asarray(Image.open(png)), np.asarray(ticodec.decode(tic, crop=(10, 20, 30, 40)))
    )
    wrong = ("decode", tic, tmp_path / "b.png", "--crop")
    run(*wrong, 70, 0, 30, 40).fails(2, "a.tic: --crop must lie within the image of 90×70 pixels")
    run(*wrong, -1, 0, 30, 40).fails(2, "--crop must have x 0 or more, not -1")
    run(*wrong, 1, 2, 3).fails(2, "--crop")
    assert not (tmp_path / "b.png").exists()


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.uint64, np.int64])
def test_numpy_numbers_are_accepted(tiny, picture, kind: type) -> None:
    """Sums of small integer types must not wrap around."""
    data = tiny.encode(picture(70, 90))
    crop = np.array([80, 40, 10, 30], kind)
    found = tiny.decode(data, crop=tuple(crop), scale=kind(2)).pixels
    assert np.array_equal(found, tiny.decode(data, crop=(80, 40, 10, 30), scale=2).pixels)
