"""A file of a batch run after a worker has read it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ticodec.container import QUALITY_STEPS, Container, Header
from ticodec.picture import Picture

from .messages import Item, Row


@dataclass
class Loaded:
    """A file that was read: its bytes, and its picture or its container.

    Args:
        seconds: time spent on reading it.
        measured: the PSNR or MS-SSIM of its `.tic` file in dB, by the name of the row's field.
            Empty unless the file was encoded for such a target.
    """

    item: Item
    data: bytes
    seconds: float
    picture: Picture | None = None
    container: Container | None = None
    measured: dict[str, float] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        if self.picture is not None:
            return self.picture.pixels.shape[0], self.picture.pixels.shape[1]
        assert self.container is not None
        return self.container.header.height, self.container.header.width

    @property
    def pixels(self) -> int:
        """The number of pixels."""
        return math.prod(self.size)

    def done(self, tic: int, header: Header, model: str, seconds: float) -> Row:
        """The row of the file after it was done.

        Args:
            tic: size in bytes of its `.tic` file, which was read or written.
            header: header of that file.
            model: name of the weights.
            seconds: time spent on the file, without reading it.
        """
        height, width = self.size
        return Row.of(
            self.item,
            "done",
            width=width,
            height=height,
            bytes_in=len(self.data),
            bytes_out=tic,
            bpp=tic * 8 / (height * width),
            quality=quality_of(header),
            **self.measured,
            seconds=self.seconds + seconds,
            model=model,
            notes=[] if self.picture is None else self.picture.notes_with(tic),
        )


def quality_of(header: Header) -> float | None:
    """The quality of a `.tic` file, 1 … 8, or None if its weights have one fixed λ."""
    return round(header.quality / QUALITY_STEPS, 4) or None


def pictures_of(group: list[Loaded]) -> list[Picture]:
    """The pictures of a group of images."""
    return [loaded.picture for loaded in group if loaded.picture is not None]
