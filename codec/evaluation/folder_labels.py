"""What is in an image: the class its folder is named after, and its rank by a classifier."""

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
    """A label or a folder's name in a form to compare: "Golf_ball" becomes "golf ball"."""
    return " ".join(name.replace("_", " ").casefold().split())


def folder_class(name: str) -> str | None:
    """The normalised name of the subfolder that an image is in, by its path within a folder."""
    return normalised(PurePosixPath(name).parent.name) or None


def rank_of(label: str, names: Sequence[str]) -> int | None:
    """The rank of a normalised label among names, the most probable first: 1 is the best.

    None when it is not there. Of names that read the same, the first counts.
    """
    for rank, name in enumerate(names, 1):
        if normalised(name) == label:
            return rank
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
        unchecked = cls(path, device, "")
        try:
            unchecked.classifier().of_pixels(np.zeros((16, 16, 3), np.uint8), 1)
        except TicodecError:
            raise
        except (RuntimeError, ValueError) as error:
            raise BadInputError(f"{path}: not a classifier of pixels: {error}") from error
        return cls(path, device, hashlib.sha256(read_file(path)).hexdigest())

    def classifier(self) -> PixelClassifier:
        """The network, loaded once a process. Raises BadInputError when it does not read pixels."""
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
    from ticodec.codec import pick_device

    return load_pixel_classifier(path, pick_device(device))
