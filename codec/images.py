"""Image files and arrays: reading any format Pillow knows, writing PNG, both checked."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from .container import MAX_PIXELS
from .errors import BadInputError, UsageError
from .files import read_file

#: Files that folders are searched for; a single file may have any name.
SUFFIXES = {".avif", ".jp2", ".jpeg", ".jpg", ".webp"}
SUFFIXES |= {".bmp", ".gif", ".pgm", ".png", ".ppm", ".tga", ".tif", ".tiff"}

Pixels = NDArray[np.uint8]
ImageLike = Image.Image | NDArray[Any] | str | Path


@dataclass
class Picture:
    """An image as the codec takes it.

    Args:
        pixels: (H, W, 3) uint8, RGB; a grey image has three equal channels.
        grey: whether it was grey.
        alpha: (H, W) uint8, or None for an opaque image.
        metadata: raw bytes by section name: "icc", "exif", "xmp".
    """

    pixels: Pixels
    grey: bool = False
    alpha: Pixels | None = None
    metadata: dict[str, bytes] = field(default_factory=dict)

    def to_image(self) -> Image.Image:
        """A Pillow image, "L", "RGB", "LA" or "RGBA", with its metadata in `info`."""
        image = Image.fromarray(self.pixels)
        if self.grey:
            image = image.convert("L")
        if self.alpha is not None:
            image.putalpha(Image.fromarray(self.alpha))
        for name, key in (("icc", "icc_profile"), ("exif", "exif"), ("xmp", "xmp")):
            if name in self.metadata:
                image.info[key] = self.metadata[name]
        return image


def open_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an image file's bytes completely.

    Raises BadInputError when it is no image, is damaged, or has too many pixels (seen
    in its header, before its pixels are allocated).
    """
    try:
        with _without_pillows_limit():
            image = Image.open(BytesIO(data))
            if image.width * image.height > max_pixels:
                raise BadInputError(
                    f"the image has {image.width}×{image.height} pixels, more than the limit of "
                    f"{max_pixels:,}; raise it with --max-pixels"
                )
            image.load()
    except UnidentifiedImageError as error:
        raise BadInputError("not an image that Pillow can read") from error
    except BadInputError:
        raise
    except Exception as error:  # Pillow's plugins raise many kinds on damaged files
        raise BadInputError(f"damaged image: {error}") from error
    return image


_opening = threading.Lock()
_opened: list[int | None] = []


@contextmanager
def _without_pillows_limit() -> Iterator[None]:
    """Pillow's limit of pixels, which is one for all threads, is off while any thread is in here.

    Ours takes its place.
    """
    with _opening:
        _opened.append(Image.MAX_IMAGE_PIXELS)
        Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        with _opening:
            if len(_opened) == 1:
                Image.MAX_IMAGE_PIXELS = _opened[0]
            # The first entry is the limit as it was before any of them.
            _opened.pop()


def as_picture(image: ImageLike, max_pixels: int = MAX_PIXELS) -> Picture:
    """A path, Pillow image or uint8 array (H, W), (H, W, 3) or (H, W, 4) to a `Picture`.

    Raises BadInputError when a file cannot be read, UsageError for anything that is no
    image or has too many pixels.
    """
    if isinstance(image, str | Path):
        return to_picture(open_image(read_file(Path(image)), max_pixels))
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8:
            raise UsageError(f"an image array must be uint8, not {image.dtype}")
        if image.ndim != 2 and (image.ndim != 3 or image.shape[2] not in (3, 4)):
            raise UsageError(f"an image array must be (H, W), (H, W, 3 or 4), not {image.shape}")
        if not image.size:
            raise UsageError("the image has no pixels")
        image = Image.fromarray(image)
    if not isinstance(image, Image.Image):
        raise UsageError(f"not an image: {type(image).__name__}")
    if image.width * image.height == 0:
        raise UsageError("the image has no pixels")
    if image.width * image.height > max_pixels:
        raise UsageError(f"the image has more pixels than the limit of {max_pixels:,}")
    return to_picture(image)


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
    found = {"icc": image.info.get("icc_profile"), "xmp": image.info.get("xmp")}
    try:
        turned = ImageOps.exif_transpose(image)
        exif = turned.getexif()
        found["exif"] = exif.tobytes() if len(exif) else None
        image = turned
    except Exception:  # damaged EXIF raises many kinds, and is no reason to lose the photo
        found["exif"] = None
    return image, {k: v for k, v in found.items() if isinstance(v, bytes) and v}


def png_bytes(image: Image.Image, text: dict[str, str] | None = None) -> bytes:
    """The image as PNG, with ICC, EXIF and XMP from its `info`, and text chunks (Latin-1)."""
    out = BytesIO()
    extra: dict[str, Any] = {k: image.info[k] for k in ("icc_profile", "exif") if k in image.info}
    chunks = PngInfo()
    for key, value in (text or {}).items():
        chunks.add_text(key, value)
    if "xmp" in image.info:
        chunks.add_itxt("XML:com.adobe.xmp", image.info["xmp"].decode("utf-8", "replace"))
    image.save(out, "PNG", pnginfo=chunks, **extra)
    return out.getvalue()


def pack_alpha(alpha: Pixels) -> bytes:
    """Lossless alpha plane: horizontal differences, deflated."""
    return zlib.compress(np.diff(alpha, axis=1, prepend=np.uint8(0)).tobytes(), 9)


def unpack_alpha(data: bytes, height: int, width: int) -> Pixels:
    """Inverse of `pack_alpha`. Raises BadInputError unless it is exactly that many samples."""
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(data, height * width + 1)
    except zlib.error as error:
        raise BadInputError("damaged file: its alpha plane cannot be read") from error
    if len(raw) != height * width or not inflater.eof or inflater.unused_data:
        raise BadInputError("damaged file: its alpha plane has another size")
    steps = np.frombuffer(raw, np.uint8).reshape(height, width)
    return np.cumsum(steps, axis=1, dtype=np.uint8)


def list_images(folder: Path) -> list[Path]:
    """Files below a folder whose suffix is an image's, sorted by path; hidden ones are left out.

    Links that lead nowhere are in the list, so that whoever reads them can say so.

    Raises BadInputError when it is no folder or has no images.
    """
    if not folder.is_dir():
        raise BadInputError(f"{folder}: not a folder of images")
    paths = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not path.is_dir()
    ]
    if not paths:
        known = ", ".join(sorted(SUFFIXES))
        raise BadInputError(f"{folder}: no images in it; known suffixes: {known}")
    return paths
