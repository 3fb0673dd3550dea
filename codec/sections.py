"""The kinds of sections that follow the header of a `.tic` file.

Picture ─► payload ─► .tic ─► restore ─► Picture      the optional sections
latents ─► entropy coder ─► .tic                      z and y, which every file has

To add an optional section, add an entry to `SECTIONS` and a row to the table in `docs/format.md`.
Readers that do not know a section skip it. Imports neither torch, NumPy nor Pillow.
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
    """A section with coded latents. Every file has it, and the entropy coder makes it."""


class OfPicture(Section, ABC):
    """An optional section with something that a picture has besides its pixels."""

    @abstractmethod
    def payload(self, picture: Picture) -> bytes | None:
        """The bytes to store, or None if the picture has nothing to store in this section."""

    @abstractmethod
    def restore(self, picture: Picture, payload: bytes, size: tuple[int, int]) -> None:
        """Put a payload back into a decoded picture. Raises BadInputError if it is damaged.

        Args:
            size: (height, width) of the whole image. The picture may be a part of it.
        """


@dataclass(frozen=True)
class Metadata(OfPicture):
    """Metadata, whose bytes are kept unchanged.

    Args:
        key: the key in the `info` of a Pillow image, both when it is read and when it is written.
    """

    key: str

    def payload(self, picture: Picture) -> bytes | None:
        """The bytes in `picture.metadata` under the section's name."""
        return picture.metadata.get(self.name)

    def restore(self, picture: Picture, payload: bytes, size: tuple[int, int]) -> None:
        """Put the bytes into `picture.metadata`."""
        picture.metadata[self.name] = payload


class Alpha(OfPicture):
    """The alpha plane, lossless."""

    def payload(self, picture: Picture) -> bytes | None:
        """The packed alpha plane, see `pack_alpha`."""
        return None if picture.alpha is None else pack_alpha(picture.alpha)

    def restore(self, picture: Picture, payload: bytes, size: tuple[int, int]) -> None:
        """Unpack the alpha plane of the whole image, see `unpack_alpha`."""
        picture.alpha = unpack_alpha(payload, *size)


class Origin(OfPicture):
    """What a batch run stores about the photo that it encoded, see `batch/provenance.py`."""

    def payload(self, picture: Picture) -> bytes | None:
        """The bytes that the batch run has put into the picture."""
        return picture.origin

    def restore(self, picture: Picture, payload: bytes, size: tuple[int, int]) -> None:
        """Do nothing, because the decoded picture is not that photo."""


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
    """The number of each section, by its name."""
    return {section.name: section.number for section in SECTIONS}


def name_of(number: int) -> str:
    """The name of the section with a number, or the number if this version does not know it."""
    return next((section.name for section in SECTIONS if section.number == number), str(number))


def streams() -> list[Stream]:
    """The sections that every file has."""
    return [section for section in SECTIONS if isinstance(section, Stream)]


def metadata() -> list[Metadata]:
    """The sections that hold metadata of image files."""
    return [section for section in SECTIONS if isinstance(section, Metadata)]


def payloads(picture: Picture) -> dict[int, bytes]:
    """The payloads of a picture's optional sections, by number, in the order of `SECTIONS`."""
    stored = {
        section.number: section.payload(picture)
        for section in SECTIONS
        if isinstance(section, OfPicture)
    }
    return {number: payload for number, payload in stored.items() if payload is not None}


def restore(picture: Picture, payloads: dict[int, bytes], size: tuple[int, int]) -> None:
    """Put the optional sections of a file back into its decoded picture.

    Args:
        size: (height, width) of the whole image. The restored alpha plane has this size.

    Raises BadInputError if a section is damaged.
    """
    for section in SECTIONS:
        if isinstance(section, OfPicture) and section.number in payloads:
            section.restore(picture, payloads[section.number], size)


def pack_alpha(alpha: Pixels) -> bytes:
    """Pack an alpha plane (H, W), uint8: differences along each row, deflated."""
    import numpy as np

    return zlib.compress(np.diff(alpha, axis=1, prepend=np.uint8(0)).tobytes(), 9)


def unpack_alpha(data: bytes, height: int, width: int) -> Pixels:
    """The inverse of `pack_alpha`. Raises BadInputError unless there are height × width samples."""
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
