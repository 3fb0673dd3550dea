"""Fixtures of the training tests: folders of photos and of classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from support import CPU, SMALL, make_pixels
from toys import FITS, write_toys

from ticodec.image_files import list_images
from ticodec.models import families
from ticodec.training.data.decoding import Decoding
from ticodec.training.data.photos import Photos
from ticodec.training.photo_trainer import PhotoData


@pytest.fixture
def photos_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with three photos of 90×100 in `photos`. `tic-lite` is made small."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(families.PRESETS, "tic-lite", SMALL)
    (tmp_path / "photos").mkdir()
    for seed in range(3):
        Image.fromarray(make_pixels(90, 100, seed)).save(tmp_path / "photos" / f"{seed}.png")
    return tmp_path


@pytest.fixture(autouse=True, scope="module")
def few_latents() -> Iterator[None]:
    """Reduces the data that layers are fitted to, because small networks need only a little."""
    with pytest.MonkeyPatch.context() as patch:
        for name, count in FITS.items():
            patch.setattr(name, count)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of six photos, one of which is too small, and one file that is no image."""
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
    """Training data of a codec: the photos, and crops of them for validation."""
    return PhotoData(photos, photos.centres(64))


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three classes that are easily distinguished."""
    return write_toys(tmp_path_factory.mktemp("toys"))
