"""An image as the codec takes and returns it: 8-bit RGB, with separate alpha and metadata."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from . import sections
from .errors import UsageError
from .notes import Note, note_of_size
from .reading.colours import icc

Pixels = NDArray[np.uint8]


@dataclass
class Picture:
    """An image as the codec takes and returns it.

    Args:
        pixels: (H, W, 3) uint8, RGB. A grey image has three equal channels.
        grey: whether the image is grey.
        alpha: (H, W) uint8, or None for an opaque image.
        metadata: raw bytes by section name: "icc", "exif", "xmp" (see `sections.metadata`).
        notes: what was lost or converted when the picture was read from its file.
        file_size: the size of the file that it was read from, in bytes. 0 if there is no file.
        origin: what a batch run stores about that file in the `.tic` file.
    """

    pixels: Pixels
    grey: bool = False
    alpha: Pixels | None = None
    metadata: dict[str, bytes] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    file_size: int = 0
    origin: bytes | None = None

    def notes_with(self, tic: int) -> list[Note]:
        """The notes, and one more if the `.tic` file is larger than the file of the picture.

        Args:
            tic: the size of the `.tic` file, in bytes.
        """
        return [*self.notes, *(note_of_size(self.file_size, tic) if self.file_size else [])]

    def check(self) -> None:
        """Raises UsageError if a part of the picture has a form that a file cannot store."""
        _check_plane("pixels", self.pixels)
        height, width = self.pixels.shape[:2]
        if self.pixels.shape != (height, width, 3):
            raise UsageError(f"a picture's pixels must be (H, W, 3), not {self.pixels.shape}")
        if self.alpha is not None:
            _check_plane("alpha", self.alpha)
            if self.alpha.shape != (height, width):
                shown = f"{(height, width)}, not {self.alpha.shape}"
                raise UsageError(f"a picture's alpha must be {shown}")
        for name, value in self.metadata.items():
            if not isinstance(value, bytes):
                kind = type(value).__name__
                raise UsageError(f"a picture's metadata {name!r} must be bytes, not {kind}")

    def to_image(self) -> Image.Image:
        """Make a Pillow image, "L", "RGB", "LA" or "RGBA", with the metadata in its `info`."""
        image = Image.fromarray(self.pixels)
        if self.grey:
            image = image.convert("L")
        if self.alpha is not None:
            image.putalpha(Image.fromarray(self.alpha))
        image.info |= pillow_info(self.metadata, self.grey)
        return image


def pillow_info(metadata: dict[str, bytes], grey: bool) -> dict[str | tuple[int, int], bytes]:
    """Convert a picture's metadata to the `info` of a Pillow image.

    File formats forbid an ICC profile for RGB with grey pixels. So it is replaced by a profile for
    grey that looks the same. If it is sRGB, or if no such profile exists, it is removed.
    """
    if grey and "icc" in metadata:
        made = icc.for_grey(metadata["icc"])
        metadata = {name: value for name, value in metadata.items() if name != "icc"}
        metadata |= {} if made is None else {"icc": made}
    keys = {section.name: section.key for section in sections.metadata()}
    return {keys[name]: value for name, value in metadata.items() if name in keys}


def neutral(pixels: Pixels) -> Pixels:
    """Turn RGB pixels (H, W, 3), uint8, into grey ones of the same lightness, also (H, W, 3)."""
    return np.array(Image.fromarray(pixels).convert("L").convert("RGB"))


def smaller(plane: Pixels, scale: int) -> Pixels:
    """Shrink samples (H, W, …) to (⌈H/scale⌉, ⌈W/scale⌉, …).

    Each result is the mean of scale × scale samples, or of fewer at the right and bottom edges.
    """
    return plane if scale == 1 else np.array(Image.fromarray(plane).reduce(scale))


def _check_plane(name: str, plane: object) -> None:
    if not isinstance(plane, np.ndarray) or plane.dtype != np.uint8 or plane.ndim < 2:
        raise UsageError(f"a picture's {name} must be uint8 samples in rows")
