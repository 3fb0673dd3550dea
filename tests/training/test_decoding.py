"""Decoding photos in processes gives the same pixels in the same order, even if some are killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support import CPU, SMALL, SMALL_RUN, make_pixels

from ticodec.image_files import list_images
from ticodec.training.codec_trainer import Trainer
from ticodec.training.data import decoding
from ticodec.training.data.decoding import Decoding, read_photo, useful_processes

#: Seconds after which processes must have ended, even on a busy machine.
PATIENCE = 60


def same(some: list[np.ndarray | str], others: list[np.ndarray | str]) -> bool:
    """Whether both lists have exactly the same pixels and texts."""
    return all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))


@pytest.fixture
def turned(folder: Path, tmp_path: Path) -> list[Path]:
    """The photos of `folder`, a photo that EXIF turns, and a photo of 16 bits."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90°
    Image.fromarray(make_pixels(40, 60)).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    Image.fromarray(np.full((50, 50), 65535, np.uint16)).save(tmp_path / "wide.png")
    return [*list_images(folder), *list_images(tmp_path)]


def test_other_processes_decode_the_same_pixels(turned: list[Path]) -> None:
    here = list(Decoding(turned, 0))
    assert [isinstance(pixels, str) for pixels in here] == [
        "broken" in path.name for path in turned
    ]
    assert here[-2].shape == (60, 40, 3)
    assert (here[-1] == 255).all()
    assert same(list(Decoding(turned, 2)), here)


READ_HERE: list[str] = []


def kill_or_read(path: Path) -> np.ndarray | str:
    """Read a photo, but kill the process if it is a worker and the photo is 2.png."""
    if multiprocessing.parent_process() is None:
        READ_HERE.append(path.name)
    elif path.name == "2.png":
        os.kill(os.getpid(), signal.SIGKILL)
    return read_photo(path)


def test_no_photo_is_lost_if_processes_are_killed(
    turned: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = list(Decoding(turned, 0))
    monkeypatch.setattr(decoding, "read_photo", kill_or_read)
    before = set(multiprocessing.active_children())
    begun = Decoding(turned, 2)
    started = set(multiprocessing.active_children()) - before
    assert same(list(begun), here)
    assert "2.png" in READ_HERE
    assert started
    for process in started:  # all end, or this process would wait for them at its exit
        process.join(PATIENCE)
        assert process.exitcode is not None


def test_decoding_may_be_stopped_early(turned: list[Path]) -> None:
    before = set(multiprocessing.active_children())
    begun = Decoding(turned, 2)
    started = set(multiprocessing.active_children()) - before
    photos = iter(begun)
    next(photos)
    photos.close()
    for process in started:
        process.join(PATIENCE)
        assert process.exitcode is not None


@pytest.mark.parametrize(
    ("cores", "photos", "here", "wanted"),
    [
        (16, 10_000, 1, 15),
        (16, 10_000, 4, 3),
        (16, 50, 1, 3),
        (16, 20, 1, 0),  # few photos
        (1, 10_000, 1, 0),
        (2, 10_000, 1, 0),  # one more process would not be faster than this one
    ],
)
def test_how_many_processes_decode(
    cores: int, photos: int, here: int, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "cores", lambda: cores)
    assert useful_processes(photos, here) == wanted


@pytest.mark.parametrize("count", [1, 2, 51])
def test_a_trainer_loads_photos_that_are_already_being_decoded(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With any number of processes it gets the same photos and the same crops."""
    for number in range(count):
        Image.fromarray(make_pixels(64, 66, number)).save(tmp_path / f"{number:03}.png")
    loaded = []
    for processes in (0, 2):
        monkeypatch.setattr(
            "ticodec.training.photo_trainer.useful_processes",
            lambda photos, here, processes=processes: processes,
        )
        trainer, ticks = Trainer(SMALL, SMALL_RUN, CPU), []
        trainer.begin_loading(tmp_path)
        assert trainer.loading.decoding.pool is None or processes
        data, line = trainer.load_data(tmp_path, ticks.append)
        loaded.append((data, line, ticks, trainer.batch(data)))
    (one, line, ticks, drawn), (two, *others, drawn_too) = loaded
    assert [line, ticks] == others
    assert torch.equal(one.photos.pixels, two.photos.pixels)
    assert torch.equal(one.held, two.held)
    assert all(map(torch.equal, drawn, drawn_too))
