"""Image files: reading any format that Pillow knows, checked, and finding them in folders."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import ExifTags, Image, UnidentifiedImageError

from .container import MAX_PIXELS, is_tic
from .errors import BadInputError, TicodecError
from .picture import Picture, to_picture

#: Suffixes of the files that are listed in folders. A single file may have any name.
SUFFIXES = {".avif", ".jp2", ".jpeg", ".jpg", ".webp"}
SUFFIXES |= {".bmp", ".gif", ".pgm", ".png", ".ppm", ".tga", ".tif", ".tiff"}


#: Called with an image's (height, width) before its pixels are decoded; raises to refuse it.
SizeCheck = Callable[[int, int], None]


def read_picture(
    data: bytes, max_pixels: int = MAX_PIXELS, check: SizeCheck | None = None
) -> Picture:
    """The picture of an image file's bytes: upright, 8-bit RGB. Raises as `open_image` does."""
    return to_picture(open_image(data, max_pixels, check))


def open_image(
    data: bytes, max_pixels: int = MAX_PIXELS, check: SizeCheck | None = None
) -> Image.Image:
    """Decode an image file's bytes completely.

    Args:
        check: whether there is memory for it, for example.

    Raises BadInputError when it is no image, is damaged, or has too many pixels (seen
    in its header, before its pixels are allocated); and what `check` raises.
    """
    if is_tic(data):
        raise BadInputError("not an image but a .tic file; decode it first")
    try:
        with _without_pillows_limit():
            image = Image.open(BytesIO(data))
            if image.width * image.height > max_pixels:
                raise BadInputError(
                    f"the image has {image.width}×{image.height} pixels, more than the limit of "
                    f"{max_pixels:,}; raise `max_pixels` if you trust the file"
                )
            if check is not None:
                check(*upright_size(image))
            image.load()
    except UnidentifiedImageError as error:
        raise BadInputError("not an image that Pillow can read") from error
    except TicodecError:
        raise
    except Exception as error:  # Pillow's plugins raise many kinds on damaged files
        raise BadInputError(f"damaged image: {error}") from error
    return image


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(height, width) of an image once its EXIF orientation is applied. Decodes no pixels."""
    height, width = image.height, image.width
    try:
        # Without EXIF in its header, Pillow would look for it behind a PNG's pixels.
        turned = "exif" in image.info and image.getexif().get(ExifTags.Base.Orientation, 1) > 4
    except Exception:  # damaged EXIF raises many kinds; such an image is not turned
        turned = False
    return (width, height) if turned else (height, width)


_opening = threading.Lock()
_opened: list[int | None] = []


@contextmanager
def _without_pillows_limit() -> Iterator[None]:
    """Switch Pillow's limit of pixels off while any thread is in here: all threads share it.

    `open_image` has a limit of its own.
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


def list_images(folder: Path) -> list[Path]:
    """Files below a folder that have an image's suffix, sorted by path, except hidden ones.

    Broken links are in the list: reading one gives an error that the caller can report.

    Raises BadInputError when it is not a folder or has no images.
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
