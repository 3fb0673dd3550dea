"""Photos for the training tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from support import CPU, make_pixels
from toys import write_toys

from ticodec.image_files import list_images
from ticodec.training.codec_trainer import PhotoData
from ticodec.training.data.decoding import Decoding
from ticodec.training.data.photos import Photos


@pytest.fixture(autouse=True, scope="module")
def few_latents() -> Iterator[None]:
    """Toys have 16 channels: what is fitted to them needs a few latents, not thousands.

    Encoding the images for that took most of the time of these tests.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ticodec.training.halving.FITTED_LATENTS", 128)
        patch.setattr("ticodec.training.head_trainer.FITTED", 32)
        patch.setattr("ticodec.training.head_trainer.STITCHED", 256)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six photos, one of them too small, and one file that is no image."""
    folder = tmp_path_factory.mktemp("photos")
    for i in range(5):
        Image.fromarray(make_pixels(260 + i, 270, i)).save(folder / f"{i}.png")
    Image.fromarray(make_pixels(30, 30)).save(folder / "small.png")
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def photos(folder: Path) -> Photos:
    return Photos(Decoding(list_images(folder), 0), 64, CPU)


@pytest.fixture
def data(photos: Photos) -> PhotoData:
    """What a codec is trained on: those photos, and crops of them to validate with."""
    return PhotoData(photos, photos.centres(64))


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three classes that are easy to tell apart."""
    return write_toys(tmp_path_factory.mktemp("toys"))
