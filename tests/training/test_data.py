"""Training images: photos that are left out, crops, shrinking, the held-out part."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support import CPU, SMALL, SMALL_RUN, make_pixels

from ticodec.errors import BadInputError
from ticodec.image_files import list_images
from ticodec.training.codec_trainer import Trainer
from ticodec.training.data.decoding import Decoding
from ticodec.training.data.photos import Photos, split


def test_small_and_broken_images_are_left_out(photos: Photos) -> None:
    assert (len(photos), photos.left_out) == (5, 2)


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
    assert line.startswith("1 photos to train on, none (too small) held out, 0 left out")
    assert len(data.held) == 1
