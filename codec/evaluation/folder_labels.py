"""What is in an image: the class its folder is named after, and where a classifier places it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from ticodec.errors import BadInputError, TicodecError
from ticodec.files import read_file
from ticodec.picture import Pixels

if TYPE_CHECKING:
    from ticodec.classifier import PixelClassifier


def normal(name: str) -> str:
    """A label or a folder's name, so that they can be compared: "Golf_ball" is "golf ball"."""
    return " ".join(name.replace("_", " ").casefold().split())


def folder_class(name: str) -> str | None:
    """The nearest subfolder of an image's path within a folder, in normal form, if it is in one."""
    return normal(PurePosixPath(name).parent.name) or None


def place(names: Iterable[str], label: str) -> int | None:
    """Where a label in normal form is among names, best first: 1 is the most probable.

    None when it is not there. Of names that read the same, the first counts.
    """
    for number, name in enumerate(names, 1):
        if normal(name) == label:
            return number
    return None


@dataclass(frozen=True)
class PixelFile:
    """A classifier of pixels, by its file: in a form that travels to other processes.

    Args:
        device: "auto", "cpu" or "cuda"; digest: SHA-256 of the file.
    """

    path: Path
    device: str
    digest: str

    @classmethod
    def checked(cls, path: Path, device: str) -> PixelFile:
        """A file that has classified something. Raises BadInputError when it cannot."""
        found = cls(path, device, "")
        try:
            found.classifier().of_pixels(np.zeros((16, 16, 3), np.uint8), 1)
        except TicodecError:
            raise
        except (RuntimeError, ValueError) as error:
            raise BadInputError(f"{path}: not a classifier of pixels: {error}") from error
        return cls(path, device, hashlib.sha256(read_file(path)).hexdigest())

    def classifier(self) -> PixelClassifier:
        """The network, loaded once a process. Raises BadInputError when it is none of pixels."""
        return _loaded(self.path, self.device)

    def labels(self) -> frozenset[str]:
        """Of its classes, in normal form."""
        return frozenset(map(normal, self.classifier().labels))

    def place(self, pixels: Pixels, label: str) -> int | None:
        """Where it places a label for (H, W, 3) uint8 pixels, see `place`."""
        classifier = self.classifier()
        found = classifier.of_pixels(pixels, len(classifier.labels))
        return place((each.label for each in found), label)


@cache
def _loaded(path: Path, device: str) -> PixelClassifier:
    from ticodec.classifier import load_pixel_classifier
    from ticodec.codec import pick_device

    return load_pixel_classifier(path, pick_device(device))
