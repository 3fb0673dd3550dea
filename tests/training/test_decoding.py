"""Decoding photos in processes: the same pixels, the same order, whatever happens to them."""

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

#: Seconds in which processes must have ended, on a busy machine.
PATIENCE = 60


def same(some: list[np.ndarray | None], others: list[np.ndarray | None]) -> bool:
    """Whether both have the very same pixels, and nothing where the other has nothing."""
    return all(
        (a is None and b is None) or (a is not None and b is not None and np.array_equal(a, b))
        for a, b in zip(some, others, strict=True)
    )


@pytest.fixture
def turned(folder: Path, tmp_path: Path) -> list[Path]:
    """The photos of `folder`, one that EXIF turns, and one of 16 bits."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(make_pixels(40, 60)).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    Image.fromarray(np.full((50, 50), 65535, np.uint16)).save(tmp_path / "wide.png")
    return [*list_images(folder), *list_images(tmp_path)]


def test_processes_decode_what_this_one_does(turned: list[Path]) -> None:
    here = list(Decoding(turned, 0))
    assert [pixels is None for pixels in here] == ["broken" in path.name for path in turned]
    assert here[-2].shape == (60, 40, 3)
    assert (here[-1] == 255).all()
    assert same(list(Decoding(turned, 2)), here)


READ_HERE: list[str] = []


def kill_or_read(path: Path) -> np.ndarray | None:
    """What a worker does that dies of one photo."""
    if multiprocessing.parent_process() is None:
        READ_HERE.append(path.name)
    elif path.name == "2.png":
        os.kill(os.getpid(), signal.SIGKILL)
    return read_photo(path)


def test_killed_processes_cost_no_photo(
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
    for process in started:  # the others end too, or this one would wait for them at its exit
        process.join(PATIENCE)
        assert process.exitcode is not None


def test_it_may_be_left_early(turned: list[Path]) -> None:
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
        (2, 10_000, 1, 0),  # one process would be no more than this one
    ],
)
def test_how_many_processes_decode(
    cores: int, photos: int, here: int, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "cores", lambda: cores)
    assert useful_processes(photos, here) == wanted


@pytest.mark.parametrize("count", [1, 2, 51])
def test_a_trainer_loads_what_was_begun(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many processes as there may be, or none: the same photos, the same crops."""
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
