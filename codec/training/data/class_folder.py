"""Labelled training images: a folder with one subfolder per class, decoded into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ticodec.errors import BadInputError, UsageError
from ticodec.image_files import list_images
from ticodec.picture import Pixels
from ticodec.reading.read import to_picture

from .augment import Augmentation, middle, to_float
from .photos import HOLD_OUT
from .unusable import listed as listed_unusable
from .unusable import open_photo, why_unusable

#: The long side of a shrunk image is at most this many times the wanted short side.
LONGEST = 4
#: An image is first reduced by fast methods, to at least this many times the wanted size.
GAP = 2
#: How many labels a message lists.
SHOWN = 12
#: How many images `ClassFolder.centre` yields at a time.
BATCH = 32
#: Usual names of the parts of a data set. Such a subfolder contains classes and is no class itself.
PARTS = {"train", "val", "valid", "validation", "test"}
WANTED = "name a folder with one subfolder per class"


def find_classes(folder: Path) -> dict[str, list[Path]]:
    """The image files of each class. A class is a subfolder that has images at any depth.

    Returns:
        Paths of images by name of class. Both are sorted by name.

    Raises:
        BadInputError: The folder does not exist, or has fewer than two classes.
    """
    if not folder.is_dir():
        what = "not a folder" if folder.exists() else "no such folder"
        raise BadInputError(f"{folder}: {what}; {WANTED}")
    try:
        subfolders = sorted(p for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")
    except OSError as error:
        raise BadInputError(f"{folder}: cannot be read: {error.strerror}; {WANTED}") from error
    classes = {}
    for subfolder in subfolders:
        if subfolder.name != subfolder.name.encode("utf-8", "replace").decode():
            raise BadInputError(f"{folder}: {subfolder.name!r} is not text: rename this subfolder")
        try:
            classes[subfolder.name] = list_images(subfolder)
        except BadInputError:  # it has no images, so it is not a class
            continue
    if not classes:
        raise BadInputError(f"{folder}: no subfolders with images; {WANTED}")
    if len(classes) == 1:
        raise BadInputError(
            f"{folder}: only one class, {next(iter(classes))!r}; {WANTED}, of two or more classes"
        )
    if set(classes) <= PARTS:
        raise BadInputError(
            f"{folder}: {' and '.join(classes)} are parts of a data set, not classes: "
            "name one of these folders"
        )
    return classes


def labels_of(folder: Path) -> tuple[str, ...]:
    """The labels of a folder's classes. Raises BadInputError when it has no classes."""
    return tuple(map(label_of, find_classes(folder)))


def label_of(name: str) -> str:
    """The label for a subfolder: its name with spaces instead of underscores."""
    return name.replace("_", " ")


def listed(labels: tuple[str, ...]) -> str:
    """Labels as text for a message. If there are many, only the first ones are listed."""
    more = f" … ({len(labels)} in all)" if len(labels) > SHOWN else ""
    return ", ".join(labels[:SHOWN]) + more


def shrink(pixels: Pixels, side: int) -> Pixels:
    """Shrink an image (H, W, 3) uint8 so that its short side is at most `side` pixels.

    Smaller images are not resized. If the long side is still over LONGEST · `side` pixels, its ends
    are cut off.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, side / min(height, width))
    high, wide = (min(LONGEST * side, max(1, round(n * scale))) for n in (height, width))
    if (high, wide) == (height, width):
        return pixels
    # The part of the image that is kept: all of it, except the ends of a long side.
    tall, broad = min(high / scale, height), min(wide / scale, width)
    top, left = (height - tall) // 2, (width - broad) // 2
    box = (left, top, left + broad, top + tall)
    image = Image.fromarray(pixels)
    return np.array(image.resize((wide, high), Image.Resampling.LANCZOS, box, reducing_gap=GAP))


def read_small(path: Path, side: int) -> Pixels | str:
    """The image of a file, upright and shrunk: (H, W, 3) uint8, RGB.

    If it cannot be read, returns a text that says why.
    """
    try:
        with open_photo(path) as image:
            image.draft(None, (GAP * side, GAP * side))  # decodes a large JPEG at a smaller size
            return shrink(to_picture(image).pixels, side)
    except Exception as error:  # Pillow's plugins raise many kinds of errors on damaged files
        return why_unusable(error)


class ClassFolder:
    """Labelled images in memory, decoded and shrunk.

    Every 50th image of a class, by name, and at least one, is held out for validation. If a class
    has only one image, that image is not held out.

    Args:
        folder: has one subfolder per class, with images at any depth. Subfolders that are hidden
            or have no images are no classes.
        side: images with a larger short side are shrunk until it has this many pixels.
        device: where the pixels are stored and batches are made.
        tick: called once for each image, for a progress bar.

    Attributes:
        names: the names of the subfolders, sorted. A class is an index into this list.
        labels: the names for people, with spaces instead of underscores.
        pixels: n images (H, W, 3) uint8, RGB, on the device.
        targets: the class of each image, (n,) long, on the CPU.
        training: indices of the training images, long, on the CPU.
        validation: indices of the validation images, long, on the CPU.
        left_out: why each file that could not be read is left out.

    Raises:
        BadInputError: The folder does not exist, has fewer than two classes, or has a class
            without a readable image.
    """

    def __init__(
        self,
        folder: Path,
        side: int,
        device: torch.device,
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        classes = find_classes(folder)
        self.names = tuple(classes)
        self.labels = tuple(map(label_of, classes))
        self.device = device
        self.pixels: list[Tensor] = []
        self.left_out: dict[Path, str] = {}
        targets: list[int] = []
        training: list[int] = []
        validation: list[int] = []
        pool = ThreadPoolExecutor()  # Pillow lets other threads run while it decodes
        try:
            for target, (name, paths) in enumerate(classes.items()):
                first = len(self.pixels)
                read = pool.map(partial(read_small, side=side), paths)
                for path, pixels in zip(paths, read, strict=True):
                    tick()
                    if isinstance(pixels, str):
                        self.left_out[path] = pixels
                    else:
                        self.pixels.append(torch.from_numpy(pixels).to(device))
                indices = list(range(first, len(self.pixels)))
                if not indices:
                    raise BadInputError(
                        f"{folder / name}: none of its {len(paths)} images can be read: "
                        f"replace them, or remove this subfolder ({paths[0].name}: "
                        f"{self.left_out[paths[0]]})"
                    )
                held = indices[::HOLD_OUT] if len(indices) > 1 else []
                targets += [target] * len(indices)
                validation += held
                training += sorted(set(indices) - set(held))
        finally:
            pool.shutdown(cancel_futures=True)
        self.targets = torch.tensor(targets)
        self.training = torch.tensor(training)
        self.validation = torch.tensor(validation, dtype=torch.long)

    def __len__(self) -> int:
        return len(self.pixels)

    def batch(
        self, count: int, size: int, generator: torch.Generator, augmentation: Augmentation
    ) -> tuple[Tensor, Tensor]:
        """Random training images, augmented.

        `generator` is a CPU generator, from which all random numbers come.

        Returns:
            Images (count, size, size, 3) float32 in [0, 1] and targets (count, classes) float32,
            which sum to 1, both on the device.
        """
        pick = self.training[torch.randint(len(self.training), (count,), generator=generator)]
        return self.augmented(pick, size, generator, augmentation)

    def augmented(
        self, pick: Tensor, size: int, generator: torch.Generator, augmentation: Augmentation
    ) -> tuple[Tensor, Tensor]:
        """The images with these indices (n,), augmented, and their targets, see `batch`."""
        labels = self.targets[pick].to(self.device)
        images, targets = augmentation(
            self.channels_first(pick), labels, len(self.names), size, generator
        )
        return images.permute(0, 2, 3, 1).contiguous(), targets

    def centre(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The middle squares of the validation images, in batches.

        Yields:
            Images (b, size, size, 3) float32 in [0, 1] and classes (b,) long, on the device.
        """
        for start in range(0, len(self.validation), BATCH):
            pick = self.validation[start : start + BATCH]
            images = to_float([middle(p, size) for p in self.channels_first(pick)])
            yield images.permute(0, 2, 3, 1).contiguous(), self.targets[pick].to(self.device)

    def channels_first(self, pick: Tensor) -> list[Tensor]:
        """The pixels of the images with these indices, (3, H, W) each. They are not copied."""
        return [self.pixels[i].permute(2, 0, 1) for i in pick.tolist()]


def load_classes(
    folder: Path,
    labels: tuple[str, ...],
    side: int,
    device: torch.device,
    tick: Callable[[int], None],
) -> tuple[ClassFolder, str]:
    """Load the images of a folder of classes.

    Args:
        folder: has one subfolder per class.
        labels: the classes that the network has.
        side: the side of the training crops, in pixels.
        device: where the pixels are stored.
        tick: called as `tick(total)` once for each file.

    Returns:
        The images, and a line about them for people.

    Raises:
        BadInputError: There are no classes, or every class has only one image.
        UsageError: The folder has other classes than the network.
    """
    total = sum(map(len, find_classes(folder).values()))
    data = ClassFolder(folder, side * 8 // 7, device, lambda: tick(total))
    if data.labels != labels:
        raise UsageError(
            f"{folder} has the classes {listed(data.labels)}, but this network has "
            f"{listed(labels)}: to train it for other classes, give it as `init`"
        )
    if not len(data.validation):
        raise BadInputError(
            f"{folder}: every class has only one image: at least one class needs two, "
            "so that one of them is left for validation"
        )
    line = (
        f"{len(data.training)} images of {len(labels)} classes to train on, "
        f"{len(data.validation)} held out, {listed_unusable(data.left_out, folder)}"
    )
    return data, line
