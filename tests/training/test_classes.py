"""Labelled images: classes, hold-out, reading of files, batches, folders that are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support import CPU, make_pixels

from ticodec.errors import BadInputError
from ticodec.training.data.augment import Augmentation
from ticodec.training.data.class_folder import ClassFolder
from ticodec.training.options import AUGMENTATIONS


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def read_one(folder: Path) -> np.ndarray:
    """The pixels of class "a" in a folder with one image per class, with short sides up to 32."""
    save(folder / "b" / "other.png", make_pixels(8, 8))
    data = ClassFolder(folder, 32, CPU)
    assert data.targets.tolist() == [0, 1]
    return data.pixels[0].numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 51, 2 and 1 images of three classes, and other files.

    One class is a level deeper.
    """
    folder = tmp_path_factory.mktemp("classes")
    for i in range(51):
        save(folder / "big_dog" / f"{i:02}.png", np.full((20, 24, 3), i, np.uint8))
    save(folder / "cat" / "a.png", np.full((20, 24, 3), 60, np.uint8))
    save(folder / "cat" / "deeper" / "b.png", np.full((24, 20, 3), 61, np.uint8))
    save(folder / "tench" / "only.png", make_pixels(30, 40))
    save(folder / ".hidden" / "x.png", make_pixels(8, 8))
    save(folder / "loose.png", make_pixels(8, 8))
    (folder / "empty").mkdir()
    (folder / "cat" / "broken.jpg").write_bytes(b"no image")
    (folder / "cat" / "dangling.jpg").symlink_to(folder / "nowhere.jpg")
    return folder


@pytest.fixture(scope="module")
def data(folder: Path) -> ClassFolder:
    return ClassFolder(folder, 16, CPU)


def test_classes_are_the_subfolders_with_images(data: ClassFolder) -> None:
    assert data.names == ("big_dog", "cat", "tench")
    assert data.labels == ("big dog", "cat", "tench")
    assert data.targets.tolist() == [0] * 51 + [1] * 2 + [2]
    assert len(data) == len(data.pixels) == 54
    assert {path.name: why for path, why in data.left_out.items()} == {
        "broken.jpg": "not an image that Pillow can read; it seems to be text",
        "dangling.jpg": "cannot be read: No such file or directory",
    }


def test_every_file_is_reported_as_progress(folder: Path) -> None:
    ticks: list[int] = []
    ClassFolder(folder, 16, CPU, lambda: ticks.append(1))
    assert len(ticks) == 56


def test_hold_out_of_each_class(data: ClassFolder) -> None:
    held = [int(data.pixels[i][0, 0, 0]) for i in data.validation]
    assert held == [0, 50, 60]  # none of the class with one image
    both = torch.cat([data.training, data.validation]).tolist()
    assert sorted(both) == list(range(54))
    assert data.targets[data.training].unique().tolist() == [0, 1, 2]


def test_large_images_are_shrunk(tmp_path: Path) -> None:
    pixels = np.full((3000, 4000, 3), 90, np.uint8)
    pixels[:, :, 0] = np.arange(4000) // 16
    pixels[:, :, 1] = np.arange(3000)[:, None] // 12
    path = save(tmp_path / "a" / "12mpx.jpg", pixels)
    small = read_one(tmp_path)
    assert small.shape == (32, 43, 3)
    wanted = np.asarray(Image.open(path).resize((43, 32), Image.Resampling.BOX)).astype(int)
    assert np.abs(small - wanted).max() <= 4
    assert small.base is None or small.base.nbytes < 10_000  # the large one is not kept


def test_shrinking_does_not_alias(tmp_path: Path) -> None:
    stripes = np.zeros((640, 640, 3), np.uint8)
    stripes[:, ::2] = 255
    save(tmp_path / "a" / "stripes.png", stripes)
    assert np.abs(read_one(tmp_path).astype(int) - 127).max() <= 2


@pytest.mark.parametrize("height", [33, 63, 64, 100, 300])
def test_jpegs_are_decoded_large_enough(tmp_path: Path, height: int) -> None:
    pixels = make_pixels(height, height * 2)
    path = save(tmp_path / "a" / "photo.jpg", pixels)
    wanted = Image.open(path).resize((64, 32), Image.Resampling.LANCZOS)
    assert np.abs(read_one(tmp_path).astype(int) - np.asarray(wanted)).mean() < 3


def test_small_images_are_not_changed(tmp_path: Path) -> None:
    pixels = make_pixels(32, 50)
    save(tmp_path / "a" / "small.png", pixels)
    assert (read_one(tmp_path) == pixels).all()


@pytest.mark.parametrize("turned", [False, True])
def test_middle_of_panoramas(tmp_path: Path, turned: bool) -> None:
    pixels = make_pixels(16, 1001)
    save(tmp_path / "a" / "wide.png", pixels.swapaxes(0, 1) if turned else pixels)
    found = read_one(tmp_path)  # the image is cropped to a long side of 4 · 32, and not shrunk
    assert ((found.swapaxes(0, 1) if turned else found) == pixels[:, 436:564]).all()


def test_middle_of_large_panoramas(tmp_path: Path) -> None:
    pixels = np.zeros((64, 2000, 3), np.uint8)
    pixels[:, 990:1010] = 255
    save(tmp_path / "a" / "wide.png", pixels)
    found = read_one(tmp_path)
    assert found.shape == (32, 128, 3)
    assert (found[:, 60:68] > 250).all()
    assert (found[:, :56] == 0).all()


def test_grey_alpha_and_wide_samples(tmp_path: Path) -> None:
    grey = make_pixels(20, 24)[..., 0]
    save(tmp_path / "a" / "1.png", grey)
    save(tmp_path / "a" / "2.png", np.stack([grey, grey, grey, 255 - grey], -1))
    save(tmp_path / "a" / "3.png", grey.astype(np.uint16) * 257)
    save(tmp_path / "b" / "other.png", make_pixels(8, 8))
    data = ClassFolder(tmp_path, 32, CPU)
    for i in range(3):
        assert data.pixels[i].dtype == torch.uint8
        assert (data.pixels[i].numpy() == grey[..., None]).all()


def test_rotated_photos_are_read_upright(tmp_path: Path) -> None:
    pixels = make_pixels(20, 24)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    (tmp_path / "a").mkdir()
    Image.fromarray(pixels).save(tmp_path / "a" / "turned.png", exif=exif)
    assert (read_one(tmp_path) == np.rot90(pixels, -1)).all()


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_batches(data: ClassFolder, kind: str) -> None:
    images, targets = data.batch(6, 16, torch.Generator().manual_seed(0), Augmentation(kind))
    assert images.shape == (6, 16, 16, 3)
    assert images.is_contiguous()
    assert (images.dtype, targets.dtype) == (torch.float32, torch.float32)
    assert images.min() >= 0
    assert images.max() <= 1
    assert targets.shape == (6, 3)
    torch.testing.assert_close(targets.sum(1), torch.ones(6))


def test_batches_have_training_images_and_their_classes(data: ClassFolder) -> None:
    generator = torch.Generator().manual_seed(0)
    images, targets = data.batch(400, 16, generator, Augmentation("none"))
    flat = images.flatten(1)
    even = flat.amax(1) == flat.amin(1)  # all images but that of class 2
    assert targets.argmax(1)[~even].unique().tolist() == [2]
    values = (flat[even, 0] * 255).round().long()
    assert set(values.tolist()) == {*range(1, 50), 61}
    assert (targets.argmax(1)[even] == (values > 51).long()).all()
    assert ((targets == 0) | (targets == 1)).all()


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_batches_depend_only_on_the_generator(data: ClassFolder, kind: str) -> None:
    way = Augmentation(kind)
    generator = torch.Generator().manual_seed(5)
    data.batch(4, 16, generator, way)
    state = generator.get_state()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, first_targets = data.batch(4, 16, generator, way)
    assert (torch.get_rng_state() == before).all()
    following, _ = data.batch(4, 16, generator, way)
    torch.manual_seed(2)
    generator.set_state(state)
    again, again_targets = data.batch(4, 16, generator, way)
    assert (first == again).all()
    assert (first_targets == again_targets).all()
    assert (first != following).any()


def test_centres_of_the_validation_images(tmp_path: Path) -> None:
    pixels = make_pixels(40, 60)
    for i in range(2):
        save(tmp_path / "a" / f"{i}.png", pixels)
        save(tmp_path / "b" / f"{i}.png", pixels[:20, :16])
    data = ClassFolder(tmp_path, 64, CPU)
    ((images, targets),) = data.centre(40)
    assert targets.tolist() == [0, 1]
    assert targets.dtype == torch.long
    assert images.shape == (2, 40, 40, 3)
    assert ((images[0] * 255).round().byte().numpy() == pixels[:, 10:50]).all()
    ((images, _),) = data.centre(20)
    wanted = np.asarray(Image.fromarray(pixels).resize((30, 20), Image.Resampling.BICUBIC))
    assert np.abs((images[0] * 255).numpy() - wanted[:, 5:25]).max() <= 2


def test_centres_come_in_batches(tmp_path: Path) -> None:
    for i in range(40):
        for j in range(2):
            save(tmp_path / f"{i:02}" / f"{j}.png", np.full((8, 8, 3), i, np.uint8))
    data = ClassFolder(tmp_path, 8, CPU)
    batches = list(data.centre(8))
    assert [len(images) for images, _ in batches] == [32, 8]
    assert torch.cat([targets for _, targets in batches]).tolist() == list(range(40))


def test_no_centres_without_validation_images(tmp_path: Path) -> None:
    save(tmp_path / "a" / "only.png", make_pixels(8, 8))
    save(tmp_path / "b" / "only.png", make_pixels(8, 8))
    data = ClassFolder(tmp_path, 8, CPU)
    assert data.validation.dtype == torch.long
    assert list(data.centre(8)) == []


def refusal(folder: Path) -> str:
    with pytest.raises(BadInputError) as caught:
        ClassFolder(folder, 32, CPU)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    path = save(tmp_path / "photo.png", make_pixels(8, 8))
    wanted = "name a folder with one subfolder per class"
    assert refusal(tmp_path / "no") == f"{tmp_path / 'no'}: no such folder; {wanted}"
    assert refusal(path) == f"{path}: not a folder; {wanted}"
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path) == f"{tmp_path}: no subfolders with images; {wanted}"


def test_a_single_class(tmp_path: Path) -> None:
    save(tmp_path / "cat" / "1.png", make_pixels(8, 8))
    (tmp_path / "empty").mkdir()
    message = refusal(tmp_path)
    assert "only one class, 'cat'; name a folder with one subfolder per class" in message


def test_a_class_without_readable_images(tmp_path: Path) -> None:
    save(tmp_path / "cat" / "1.png", make_pixels(8, 8))
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "1.png").write_bytes(b"no image")
    message = refusal(tmp_path)
    assert message.startswith(f"{tmp_path / 'dog'}: none of its 1 images can be read: replace")
