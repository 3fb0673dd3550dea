"""What a `.tic` file holds behind its header: every kind of section, and how to add one.

Picture ─► payload ─► .tic ─► restore ─► Picture      the optional sections
latents ─► entropy coder ─► .tic                      z and y, which every file has

A new optional section is one entry of `SECTIONS` and one row of the table in `docs/format.md`.
Readers that do not know it skip it. Imports neither torch, numpy nor Pillow.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import BadInputError

if TYPE_CHECKING:
    from .picture import Picture, Pixels


@dataclass(frozen=True)
class Section:
    """A kind of section: the number that files store (1 … 127), and its name."""

    number: int
    name: str


class Stream(Section):
    """Coded latents: every file has them, and the entropy coder makes them."""


class OfPicture(Section, ABC):
    """An optional section: something a picture has besides its pixels."""

    @abstractmethod
    def payload(self, picture: Picture) -> bytes | None:
        """The bytes to store; None: this picture has nothing of the kind."""

    @abstractmethod
    def restore(self, picture: Picture, payload: bytes, size: tuple[int, int]) -> None:
        """Put it back into a decoded picture. Raises BadInputError when it is damaged.

        Args:
            size: (height, width) of the whole image, of which the picture may be a part.
        """


@dataclass(frozen=True)
class Metadata(OfPicture):
    """Bytes that are kept as they are.

    Args:
        key: of Pillow's `Image.info`, where they come from and where they go back to.
    """

    key: str

    def payload(self, picture: Picture) -> bytes | None:
        """From `picture.metadata`, by the section's name."""
        return picture.metadata.get(self.name)

    def restore(self, picture: Picture, payload: bytes, size: tuple[int, int]) -> None:
        """Into `picture.metadata`."""
        picture.metadata[self.name] = payload


class Alpha(OfPicture):
    """The alpha plane, lossless."""

    def payload(self, picture: Picture) -> bytes | None:
        """See `pack_alpha`."""
        return None if picture.alpha is None else pack_alpha(picture.alpha)

    def restore(self, picture: Picture, payload: bytes, size: tuple[int, int]) -> None:
        """The plane of the whole image, see `unpack_alpha`."""
        picture.alpha = unpack_alpha(payload, *size)


class Origin(OfPicture):
    """What a batch run notes of its photo, see `batch/provenance.py`."""

    def payload(self, picture: Picture) -> bytes | None:
        """As the run has put it into the picture."""
        return picture.origin

    def restore(self, picture: Picture, payload: bytes, size: tuple[int, int]) -> None:
        """Nothing: what is decoded is not that photo."""


SECTIONS: tuple[Section, ...] = (
    Stream(1, "z"),
    Stream(2, "y"),
    Metadata(3, "icc", "icc_profile"),
    Metadata(4, "exif", "exif"),
    Metadata(5, "xmp", "xmp"),
    Alpha(6, "alpha"),
    Origin(7, "origin"),
)


def numbers() -> dict[str, int]:
    """The number of every section, by name."""
    return {section.name: section.number for section in SECTIONS}


def name_of(number: int) -> str:
    """The name of a section's number, or the number itself when this version does not know it."""
    return next((section.name for section in SECTIONS if section.number == number), str(number))


def streams() -> list[Stream]:
    """The sections that every file has."""
    return [section for section in SECTIONS if isinstance(section, Stream)]


def metadata() -> list[Metadata]:
    """The sections that hold metadata of image files."""
    return [section for section in SECTIONS if isinstance(section, Metadata)]


def payloads(picture: Picture) -> dict[int, bytes]:
    """Payloads of a picture's optional sections, by number, in the order of `SECTIONS`."""
    stored = {
        section.number: section.payload(picture)
        for section in SECTIONS
        if isinstance(section, OfPicture)
    }
    return {number: payload for number, payload in stored.items() if payload is not None}


def restore(picture: Picture, payloads: dict[int, bytes], size: tuple[int, int]) -> None:
    """Put the optional sections of a file back into its decoded picture.

    Args:
        size: (height, width) of the whole image, which alpha then has.

    Raises BadInputError when one of them is damaged.
    """
    for section in SECTIONS:
        if isinstance(section, OfPicture) and section.number in payloads:
            section.restore(picture, payloads[section.number], size)


def pack_alpha(alpha: Pixels) -> bytes:
    """An alpha plane (H, W) uint8 as bytes: horizontal differences, deflated."""
    import numpy as np

    return zlib.compress(np.diff(alpha, axis=1, prepend=np.uint8(0)).tobytes(), 9)


def unpack_alpha(data: bytes, height: int, width: int) -> Pixels:
    """Inverse of `pack_alpha`. Raises BadInputError unless it is exactly that many samples."""
    import numpy as np

    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(data, height * width + 1)
    except zlib.error as error:
        raise BadInputError("damaged file: its alpha plane cannot be read") from error
    if len(raw) != height * width or not inflater.eof or inflater.unused_data:
        raise BadInputError("damaged file: its alpha plane has another size")
    steps = np.frombuffer(raw, np.uint8).reshape(height, width)
    return np.cumsum(steps, axis=1, dtype=np.uint8)
