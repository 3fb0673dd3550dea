"""The interface of the codecs that evaluation measures. They turn pixels into bytes and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from typing import Self

import numpy as np

from ticodec.errors import TicodecError
from ticodec.picture import Pixels


class Coder(ABC):
    """A codec under measurement. It codes opaque RGB without metadata.

    Attributes:
        name: its name, as in `--against`.
        version: what its bytes depend on besides pixels and setting: versions of libraries, or
            the fingerprint of the weights. It is part of a measurement's key.
        suffix: suffix of its files, with the dot.
        mime: MIME type of its files if browsers show them, else "".
        knob: name of its setting.
        settings: all useful settings, from small files to large ones.
        ladder: the settings that are measured for a curve, in the same order.
        default: the setting if the user gives none, or 0 for a codec without a default.
        classified: whether its measurements have ranks by classifiers, which `version` then names.
        model, effort: name and effort of one of our own models. Each effort has its own coder. ""
            and 0 for other codecs.
    """

    name: str
    version: str
    suffix: str
    mime: str = ""
    knob: str = "quality"
    settings: tuple[float, ...]
    ladder: tuple[float, ...]
    default: float = 0.0
    classified: bool = False
    model: str = ""
    effort: int = 0

    @abstractmethod
    def encode(self, pixels: Pixels, setting: float) -> bytes:
        """Encode (H, W, 3) uint8 pixels into the bytes of a complete file."""

    @abstractmethod
    def decode(self, data: bytes) -> Pixels:
        """Decode the bytes of a file into (H, W, 3) uint8 pixels."""

    def labels(self) -> frozenset[str]:
        """Normalised class names this coder can predict from the bitstream.

        Raises BadInputError when the classifier is damaged.
        """
        return frozenset()

    def rank(self, data: bytes, label: str) -> int | None:
        """The rank of a normalised class name for the bytes of a file. 1 is the most probable.

        Returns None if there is no classifier for the file, or if it does not know the class.
        """
        return None

    def classified_by(self, names: tuple[str, ...]) -> Self:
        """A copy of this coder whose measurements have ranks by classifiers with these names."""
        other = copy(self)
        other.version = ", ".join((self.version, *names))
        other.classified = True
        return other

    def prepare(self) -> None:
        """Code a small image, to check that the codec works and to warm it up before timing.

        Raises UsageError that says what is missing and how to get it.
        """
        self.decode(self.encode(np.zeros((64, 64, 3), np.uint8), self.ladder[0]))


@contextmanager
def errors_named_after(coder: Coder) -> Iterator[None]:
    """Turn any exception into a TicodecError of one line that names the coder."""
    try:
        yield
    except TicodecError as error:
        if str(error).startswith(coder.name):
            raise
        raise type(error)(f"{coder.name}: {error}") from error
    except MemoryError as error:
        raise TicodecError(f"{coder.name}: not enough memory") from error
    except Exception as error:
        raise TicodecError(f"{coder.name}: {type(error).__name__}: {error}") from error


def closest(
    coder: Coder, pixels: Pixels, target: int, known: Mapping[float, int] | None = None
) -> float:
    """The setting whose file is nearest to `target` bytes, by bisection over `settings`.

    Args:
        known: sizes in bytes by setting. They are not measured again.

    Raises TicodecError when the coder fails.
    """
    sizes = dict(known or {})

    def size(index: int) -> int:
        setting = coder.settings[index]
        if setting not in sizes:
            with errors_named_after(coder):
                sizes[setting] = len(coder.encode(pixels, setting))
        return sizes[setting]

    low, high = 0, len(coder.settings) - 1
    for index, setting in enumerate(coder.settings):  # begin between known sizes
        if setting in sizes:
            low, high = (max(low, index), high) if sizes[setting] <= target else (low, index)
            if high == index:
                break
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if size(middle) > target else (middle, high)
    size(low), size(high)
    return min(sizes, key=lambda setting: abs(sizes[setting] - target))
