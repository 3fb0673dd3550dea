"""Training images: photos that are left out, crops, shrinking, the held-out part."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support import CPU, SMALL, SMALL_RUN, make_pixels

from ticodec.errors import BadInputError
from ticodec.image_files import list_images
from ticodec.training.codec_trainer import Trainer
from ticodec.training.data.class_folder import read_small
from ticodec.training.data.decoding import Decoding, read_photo
from ticodec.training.data.photos import Photos, split


def test_small_and_broken_images_are_left_out(folder: Path) -> None:
    left_out: dict[int, str] = {}
    paths = list_images(folder)
    photos = Photos(Decoding(paths, 0), 64, CPU, leave_out=left_out.__setitem__)
    assert len(photos) == 5
    assert {paths[number].name: why for number, why in left_out.items()} == {
        "broken.jpg": "not an image that Pillow can read; it seems to be text",
        "small.png": "30×30 pixels are too few for a crop of 64×64",
    }


def test_crops_are_pieces_of_the_photos(photos: Photos, folder: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    originals = [np.asarray(Image.open(p)) for p in sorted(folder.glob("?.png"))]
    pieces = set()
    for original in originals:
        for y in range(original.shape[0] - 63):
            for x in range(original.shape[1] - 63):
                pieces.add((original[y, x : x + 64].tobytes(), original[y + 63, x].tobytes()))
    mirrored = 0
    for crop in photos.crops(8, 64, generator):
        pixels = (crop * 255).round().byte().numpy()
        plain = (pixels[0].tobytes(), pixels[63, 0].tobytes()) in pieces
        turned = pixels[:, ::-1]
        assert plain or (turned[0].tobytes(), turned[63, 0].tobytes()) in pieces
        mirrored += not plain
    assert 0 < mirrored < 8


def test_every_50th_image_is_held_out() -> None:
    paths = [Path(f"{i:03}.png") for i in range(101)]
    training, held = split(paths)
    assert held == [paths[0], paths[50], paths[100]]
    assert not set(training) & set(held)


def test_shrunk_crops_are_shrunk_pieces(photos: Photos) -> None:
    crops = photos.crops(3, 64, torch.Generator().manual_seed(2), shrink=4.0)
    assert crops.shape == (3, 64, 64, 3)
    assert crops.min() >= 0
    assert crops.max() <= 1
    assert crops.is_contiguous()
    generator = torch.Generator().manual_seed(2)
    factor = 4.0 ** float(torch.rand(1, generator=generator))
    assert factor > 1.5  # so that the crops differ from those without shrinking
    whole = photos.crops(3, round(64 * factor), generator)
    wanted = torch.nn.functional.interpolate(
        whole.permute(0, 3, 1, 2), (64, 64), mode="bicubic", antialias=True
    )
    torch.testing.assert_close(crops, wanted.permute(0, 2, 3, 1).clamp(0, 1))


def test_crops_larger_than_every_photo_are_made_smaller(photos: Photos) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):  # 192 · 4 is far larger than the photos
        assert photos.crops(2, 192, generator, shrink=4.0).shape == (2, 192, 192, 3)


def test_folders_without_images(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no images in it"):
        list_images(tmp_path)
    with pytest.raises(BadInputError, match="no: it does not exist"):
        list_images(tmp_path / "no")


def test_photos_are_read_as_the_encoder_reads_them(tmp_path: Path) -> None:
    """They are turned by their EXIF orientation, and 16-bit samples are reduced to 8 bits."""
    pixels = make_pixels(64, 96)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    grey = pixels[..., 0].astype(np.uint16) * 257
    Image.fromarray(grey).save(tmp_path / "wide.png")
    photos = Photos(Decoding([tmp_path / "turned.png", tmp_path / "wide.png"], 0), 64, CPU)
    assert photos.sizes.tolist() == [[96, 64], [64, 96]]
    turned, wide = photos.pixels.numpy().reshape(2, -1)
    assert np.array_equal(turned.reshape(96, 64, 3), np.rot90(pixels, -1))
    assert np.array_equal(wide.reshape(64, 96, 3), np.repeat(pixels[..., :1], 3, 2))


def test_photos_used_for_training_are_not_reported_as_held_out(tmp_path: Path) -> None:
    """The held-out photo is too small for validation, so training photos are used for it."""
    for number in range(2):
        Image.fromarray(make_pixels(96, 96, number)).save(tmp_path / f"{number}.png")
    data, line = Trainer(SMALL, SMALL_RUN, CPU).load_data(tmp_path, lambda _: None)
    assert line == (
        "1 photo to train on, none held out, 1 left out:\n"
        "  0.png: 96×96 pixels are too few for a crop of 256×256"
    )
    assert len(data.held) == 1


def test_a_single_photo_that_is_used_is_not_reported_as_left_out(tmp_path: Path) -> None:
    Image.fromarray(make_pixels(96, 96)).save(tmp_path / "only.png")
    _, line = Trainer(SMALL, SMALL_RUN, CPU).load_data(tmp_path, lambda _: None)
    assert line == "1 photo to train on, none held out, 0 left out"


def test_the_line_names_files_that_are_left_out_and_why(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for number in range(3):
        Image.fromarray(make_pixels(300, 300, number)).save(tmp_path / f"{number}.png")
    for number in range(5):
        (tmp_path / "deep" / f"{number}.jpg").write_bytes(b"")
    _, line = Trainer(SMALL, SMALL_RUN, CPU).load_data(tmp_path, lambda _: None)
    names = [f"  deep/{number}.jpg: the file is empty" for number in range(3)]
    head = "2 photos to train on, 1 held out, 5 left out:"
    assert line.splitlines() == [head, *names, "  and 2 more"]


def test_a_folder_without_a_usable_photo_says_why(tmp_path: Path) -> None:
    Image.fromarray(make_pixels(30, 40)).save(tmp_path / "small.png")
    with pytest.raises(BadInputError, match=r"small\.png: 40×30 pixels are too few"):
        Trainer(SMALL, SMALL_RUN, CPU).load_data(tmp_path, lambda _: None)


def test_photos_of_phones_are_read(tmp_path: Path) -> None:
    """HEIC files, which Pillow itself cannot read, are trained on if pillow-heif is installed."""
    pillow_heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "IMG_1.HEIC"
    pillow_heif.from_bytes("RGB", (90, 60), make_pixels(60, 90).tobytes()).save(path, quality=90)
    photo = read_photo(path)
    assert isinstance(photo, np.ndarray)
    assert photo.shape == (60, 90, 3)
    small = read_small(path, 30)
    assert isinstance(small, np.ndarray)
    assert small.shape == (30, 45, 3)


def test_an_image_with_too_many_pixels_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(make_pixels(30, 40)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    assert read_photo(tmp_path / "large.png") == "the image has too many pixels"


def test_a_photo_that_needs_a_missing_package_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "IMG_1.HEIC"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for why in (read_photo(path), read_small(path, 30)):
        assert isinstance(why, str)
        assert "pip install 'ticodec[heif]'" in why
