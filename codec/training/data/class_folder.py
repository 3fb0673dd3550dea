"""Training images of a classifier: a folder with one subfolder a class, held decoded in memory."""

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

#: An image's long side is at most this many times the short side asked for.
LONGEST = 4
#: Fast steps of resizing end at this many times the size in each direction.
GAP = 2
#: Labels that a message names.
SHOWN = 12
#: Images that `ClassFolder.centre` yields at a time.
BATCH = 32
#: Names of subfolders that hold whole folders of classes.
PARTS = {"train", "val", "valid", "validation", "test"}
WANTED = "name a folder with one subfolder a class"


def find_classes(folder: Path) -> dict[str, list[Path]]:
    """Image files by class: those below each subfolder that has any, sorted by name.

    Raises BadInputError when it is no folder, or has fewer than two such subfolders.
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
            raise BadInputError(f"{folder}: {subfolder.name!r} is no text; rename this subfolder")
        try:
            classes[subfolder.name] = list_images(subfolder)
        except BadInputError:  # no images in it: not a class
            continue
    if not classes:
        raise BadInputError(f"{folder}: no subfolders with images in it; {WANTED}")
    if len(classes) == 1:
        raise BadInputError(
            f"{folder}: only one class, {next(iter(classes))!r}; {WANTED}, of two or more classes"
        )
    if set(classes) <= PARTS:
        raise BadInputError(
            f"{folder}: {' and '.join(classes)} are parts of a data set, no classes; "
            "name one of them"
        )
    return classes


def labels_of(folder: Path) -> tuple[str, ...]:
    """Names of the classes of a folder, to read. Raises BadInputError when it has none."""
    return tuple(map(label_of, find_classes(folder)))


def label_of(name: str) -> str:
    """The label of a subfolder's name: spaces for underscores."""
    return name.replace("_", " ")


def listed(labels: tuple[str, ...]) -> str:
    """Labels for a message; only the first ones where there are many."""
    more = f" … ({len(labels)} in all)" if len(labels) > SHOWN else ""
    return ", ".join(labels[:SHOWN]) + more


def shrink(pixels: Pixels, side: int) -> Pixels:
    """(H, W, 3) uint8 to the same with a short side of at most `side`, the long side's middle.

    What is no larger comes out as it is, but for the ends of very long images.
    """
    height, width = pixels.shape[:2]
    scale = min(1.0, side / min(height, width))
    high, wide = (min(LONGEST * side, max(1, round(n * scale))) for n in (height, width))
    if (high, wide) == (height, width):
        return pixels
    # The part of the image that is seen: all of it, but for a long side cut down.
    tall, broad = min(high / scale, height), min(wide / scale, width)
    top, left = (height - tall) // 2, (width - broad) // 2
    box = (left, top, left + broad, top + tall)
    image = Image.fromarray(pixels)
    return np.array(image.resize((wide, high), Image.Resampling.LANCZOS, box, reducing_gap=GAP))


def read_small(path: Path, side: int) -> Pixels | None:
    """A file's image, upright: (H, W, 3) uint8, RGB, shrunk; None when it cannot be read."""
    try:
        with Image.open(path) as image:  # its own limit on pixels holds
            image.draft(None, (GAP * side, GAP * side))  # JPEG: decodes no more than is needed
            return shrink(to_picture(image).pixels, side)
    except Exception:  # Pillow's plugins raise many kinds on damaged files
        return None


class ClassFolder:
    """Labelled images, decoded and shrunk, in memory.

    Every 50th image by name of a class is held out for validation, at least one; the only
    image of a class is not.

    Args:
        folder: has one subfolder a class, with images at any depth. Hidden subfolders, and
            those without images, are no classes.
        side: images with a larger short side are shrunk to it, in pixels.
        device: where the pixels live and batches are made.
        tick: called once an image, for a progress bar.

    Attributes:
        names: the subfolders' names, sorted; a class is an index into them.
        labels: the names to read, with spaces for underscores.
        pixels: n of (H, W, 3) uint8, RGB, on the device.
        targets: (n,) long, the classes, on the CPU.
        training, validation: long indices of images, on the CPU.
        left_out: how many files could not be read.

    Raises:
        BadInputError: for a folder that does not exist, or has fewer than two classes, or a
            class without a readable image.
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
        self.left_out = 0
        targets: list[int] = []
        training: list[int] = []
        validation: list[int] = []
        pool = ThreadPoolExecutor()  # Pillow lets other threads run while it decodes
        try:
            for target, (name, paths) in enumerate(classes.items()):
                first = len(self.pixels)
                for pixels in pool.map(partial(read_small, side=side), paths):
                    tick()
                    if pixels is None:
                        self.left_out += 1
                    else:
                        self.pixels.append(torch.from_numpy(pixels).to(device))
                indices = list(range(first, len(self.pixels)))
                if not indices:
                    raise BadInputError(
                        f"{folder / name}: none of its {len(paths)} images can be read; "
                        "replace them, or remove this subfolder"
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

        `generator` is a CPU generator; it alone decides what comes out.

        Returns:
            images (count, size, size, 3) float32 in [0, 1] and targets (count, classes) float32,
            which sum to 1, both on the device.
        """
        pick = self.training[torch.randint(len(self.training), (count,), generator=generator)]
        return self.augmented(pick, size, generator, augmentation)

    def augmented(
        self, pick: Tensor, size: int, generator: torch.Generator, augmentation: Augmentation
    ) -> tuple[Tensor, Tensor]:
        """These images (n,), augmented, and their targets: see `batch`."""
        labels = self.targets[pick].to(self.device)
        images, targets = augmentation(
            self.channels_first(pick), labels, len(self.names), size, generator
        )
        return images.permute(0, 2, 3, 1).contiguous(), targets

    def centre(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The middle squares of the validation images, in batches.

        Yields:
            images (b, size, size, 3) float32 in [0, 1] and classes (b,) long, on the device.
        """
        for start in range(0, len(self.validation), BATCH):
            pick = self.validation[start : start + BATCH]
            images = to_float([middle(p, size) for p in self.channels_first(pick)])
            yield images.permute(0, 2, 3, 1).contiguous(), self.targets[pick].to(self.device)

    def channels_first(self, pick: Tensor) -> list[Tensor]:
        """The pixels of these images, (3, H, W) each: views, not copies."""
        return [self.pixels[i].permute(2, 0, 1) for i in pick.tolist()]


def load_classes(
    folder: Path,
    labels: tuple[str, ...],
    side: int,
    device: torch.device,
    tick: Callable[[int], None],
) -> tuple[ClassFolder, str]:
    """The images of a folder of classes for crops of this side, and a line about them.

    `tick(total)` is called once for each file. Raises BadInputError when there are none,
    UsageError when the classes are not those that the network has.
    """
    total = sum(map(len, find_classes(folder).values()))
    data = ClassFolder(folder, side * 8 // 7, device, lambda: tick(total))
    if data.labels != labels:
        raise UsageError(
            f"{folder} has the classes {listed(data.labels)}; this network was begun with "
            f"{listed(labels)}; `init` takes its weights to other classes"
        )
    if not len(data.validation):
        raise BadInputError(f"{folder}: every class needs two images at least, one to validate by")
    line = (
        f"{len(data.training)} images of {len(labels)} classes to train on, "
        f"{len(data.validation)} held out, {data.left_out} left out (unreadable)"
    )
    return data, line
