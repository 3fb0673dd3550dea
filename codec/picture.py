"""An image as the codec takes and returns it: 8-bit RGB, with alpha and metadata kept apart."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from . import sections
from .errors import BadInputError, UsageError

Pixels = NDArray[np.uint8]


@dataclass
class Picture:
    """An image as the codec takes it.

    Args:
        pixels: (H, W, 3) uint8, RGB; a grey image has three equal channels.
        grey: whether it was grey.
        alpha: (H, W) uint8, or None for an opaque image.
        metadata: raw bytes by section name: "icc", "exif", "xmp" (`sections.metadata`).
    """

    pixels: Pixels
    grey: bool = False
    alpha: Pixels | None = None
    metadata: dict[str, bytes] = field(default_factory=dict)

    def check(self) -> None:
        """Raises UsageError when a part does not have the form that a file can hold."""
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
        """A Pillow image, "L", "RGB", "LA" or "RGBA", with its metadata in `info`."""
        image = Image.fromarray(self.pixels)
        if self.grey:
            image = image.convert("L")
        if self.alpha is not None:
            image.putalpha(Image.fromarray(self.alpha))
        for section in sections.metadata():
            if section.name in self.metadata:
                image.info[section.key] = self.metadata[section.name]
        return image


def smaller(plane: Pixels, scale: int) -> Pixels:
    """Samples (H, W, …) made smaller by the mean of every scale × scale: (⌈H/scale⌉, ⌈W/scale⌉, …).

    At the right and bottom edge fewer may be left.
    """
    return plane if scale == 1 else np.array(Image.fromarray(plane).reduce(scale))


def _check_plane(name: str, plane: object) -> None:
    if not isinstance(plane, np.ndarray) or plane.dtype != np.uint8 or plane.ndim < 2:
        raise UsageError(f"a picture's {name} must be uint8 samples in rows")


def to_picture(image: Image.Image) -> Picture:
    """Any Pillow image to 8-bit RGB, upright, with its alpha and metadata apart.

    EXIF orientation is applied to the pixels and dropped from the EXIF, so the picture
    is upright in every viewer. 16-bit samples are reduced to 8; float samples are taken
    as 0 … 255. Metadata that cannot be read is left out.

    Raises BadInputError when the pixels cannot be converted.
    """
    try:
        image, metadata = upright(image)
        if image.mode == "CMYK":
            metadata.pop("icc", None)  # a CMYK profile says nothing about RGB pixels
        key = image.info.get("transparency")
        alpha = None
        if image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I"):
            wide = np.asarray(image.convert("I")).clip(0, 65535)
            alpha = np.where(wide == key, 0, 255).astype(np.uint8) if key is not None else None
            image = Image.fromarray((wide / 257).round().astype(np.uint8))
        elif image.mode == "F":
            samples = np.nan_to_num(np.asarray(image)).clip(0, 255)
            image = Image.fromarray(samples.round().astype(np.uint8))
        elif image.has_transparency_data:
            alpha = np.array(image.convert("RGBA").getchannel("A"))
        if alpha is not None and (alpha == 255).all():
            alpha = None
        grey = image.mode in ("L", "1", "LA")
        return Picture(np.array(image.convert("RGB")), grey, alpha, metadata)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadInputError(f"an image that cannot be converted to RGB: {error}") from error


def upright(image: Image.Image) -> tuple[Image.Image, dict[str, bytes]]:
    """The image with its EXIF orientation applied, and its readable metadata by section name."""
    metadata = {section.name: image.info.get(section.key) for section in sections.metadata()}
    try:
        turned = ImageOps.exif_transpose(image)
        exif = turned.getexif()
        metadata["exif"] = exif.tobytes() if len(exif) else None
        image = turned
    except Exception:  # damaged EXIF raises many kinds, and is no reason to lose the photo
        metadata["exif"] = None
    return image, {name: v for name, v in metadata.items() if isinstance(v, bytes) and v}
