"""Image files and arrays: reading any format Pillow knows, writing PNG, both checked."""

from __future__ import annotations

import os
import tempfile
import zlib
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from .container import MAX_PIXELS
from .errors import BadInputError, TicodecError

Pixels = NDArray[np.uint8]


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


def open_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an image file's bytes completely.

    Raises BadInputError when it is no image, is damaged, or has too many pixels (seen
    in its header, before its pixels are allocated).
    """
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # ours is checked below
    try:
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
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    return image


def to_picture(image: Image.Image) -> Picture:
    """Any Pillow image to 8-bit RGB, upright, with its alpha and metadata apart.

    EXIF orientation is applied to the pixels and dropped from the EXIF, so the picture
    is upright in every viewer. 16-bit samples are reduced to 8.
    """
    icc = image.info.get("icc_profile")
    image = ImageOps.exif_transpose(image)
    metadata = {
        "icc": icc,
        "exif": image.getexif().tobytes() if len(image.getexif()) else None,
        "xmp": image.info.get("xmp"),
    }
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I"):
        wide = np.asarray(image.convert("I")).clip(0, 65535)
        image = Image.fromarray((wide / 257).round().astype(np.uint8))
    elif image.mode == "F":
        image = Image.fromarray(np.asarray(image).clip(0, 255).round().astype(np.uint8))
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        plane = np.asarray(image.getchannel("A"))
        alpha = None if (plane == 255).all() else plane.copy()
    grey = image.mode in ("L", "1", "LA")
    if image.mode == "CMYK":
        metadata["icc"] = None  # a CMYK profile says nothing about RGB pixels
    kept = {name: value for name, value in metadata.items() if value}
    return Picture(np.array(image.convert("RGB")), grey, alpha, kept)


def to_image(picture: Picture) -> Image.Image:
    """A Pillow image, "L", "RGB", "LA" or "RGBA", with its metadata in `info`."""
    image = Image.fromarray(picture.pixels)
    if picture.grey:
        image = image.convert("L")
    if picture.alpha is not None:
        image.putalpha(Image.fromarray(picture.alpha))
    for name, key in (("icc", "icc_profile"), ("exif", "exif"), ("xmp", "xmp")):
        if name in picture.metadata:
            image.info[key] = picture.metadata[name]
    return image


def png_bytes(image: Image.Image) -> bytes:
    """The image as PNG, with ICC, EXIF and XMP from its `info`."""
    out = BytesIO()
    extra: dict[str, Any] = {k: image.info[k] for k in ("icc_profile", "exif") if k in image.info}
    if "xmp" in image.info:
        from PIL.PngImagePlugin import PngInfo

        chunks = PngInfo()
        chunks.add_itxt("XML:com.adobe.xmp", image.info["xmp"].decode("utf-8", "replace"))
        extra["pnginfo"] = chunks
    image.save(out, "PNG", **extra)
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
    if len(raw) != height * width:
        raise BadInputError("damaged file: its alpha plane has another size")
    steps = np.frombuffer(raw, np.uint8).reshape(height, width)
    return np.cumsum(steps, axis=1, dtype=np.uint8)


def read_file(path: Path) -> bytes:
    """A file's bytes. Raises BadInputError with the reason when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror}") from error


def write_file(path: Path, data: bytes) -> None:
    """Write beside the target, then rename, so that no half-written file can be left.

    Raises TicodecError with the reason when the disk or the folder refuses.
    """
    part = None
    try:
        handle, part = tempfile.mkstemp(prefix=f".{path.name[:80]}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(part, 0o666 & ~mask)  # noqa: PTH101  mkstemp made it private
        os.replace(part, path)  # noqa: PTH105
        part = None
    except OSError as error:
        raise TicodecError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        if part is not None:
            Path(part).unlink(missing_ok=True)
