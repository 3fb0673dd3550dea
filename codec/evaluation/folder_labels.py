"""The class of an image, which is the name of its folder, and the rank a classifier gives it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
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


def normalised(name: str) -> str:
    """The form in which labels and folder names are compared: "Golf_ball" becomes "golf ball"."""
    return " ".join(name.replace("_", " ").casefold().split())


def folder_class(name: str) -> str | None:
    """The normalised name of the subfolder that holds an image, or None if it is in none.

    Args:
        name: path of the image below the folder that is measured.
    """
    return normalised(PurePosixPath(name).parent.name) or None


def rank_of(label: str, names: Sequence[str]) -> int | None:
    """The rank of a normalised label among names, the most probable first. 1 is the best rank.

    Returns None if the label is not among them. If several names are the same, the first counts.
    """
    for rank, name in enumerate(names, 1):
        if normalised(name) == label:
            return rank
    return None


@dataclass(frozen=True)
class PixelFile:
    """The file of a classifier of pixels, in a form that can be sent to other processes.

    Args:
        device: "auto", "cpu" or "cuda".
        digest: SHA-256 of the file.
    """

    path: Path
    device: str
    digest: str

    @classmethod
    def checked(cls, path: Path, device: str) -> PixelFile:
        """The file, after a check that it can classify a blank image.

        Raises BadInputError when it cannot.
        """
        unchecked = cls(path, device, "")
        try:
            unchecked.classifier().of_pixels(np.zeros((16, 16, 3), np.uint8), 1)
        except TicodecError:
            raise
        except (RuntimeError, ValueError) as error:
            raise BadInputError(f"{path}: not a classifier of pixels: {error}") from error
        return cls(path, device, hashlib.sha256(read_file(path)).hexdigest())

    def classifier(self) -> PixelClassifier:
        """The network, which is loaded once per process.

        Raises BadInputError when it does not read pixels.
        """
        return _loaded(self.path, self.device)

    def labels(self) -> frozenset[str]:
        """The normalised names of its classes."""
        return frozenset(map(normalised, self.classifier().labels))

    def rank(self, pixels: Pixels, label: str) -> int | None:
        """The rank of a normalised label for (H, W, 3) uint8 pixels, see `rank_of`."""
        classifier = self.classifier()
        ranking = classifier.of_pixels(pixels, len(classifier.labels))
        return rank_of(label, [answer.label for answer in ranking])


@cache
def _loaded(path: Path, device: str) -> PixelClassifier:
    from ticodec.classifier import load_pixel_classifier
    from ticodec.device import pick_device

    return load_pixel_classifier(path, pick_device(device))
