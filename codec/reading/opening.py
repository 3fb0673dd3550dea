"""Opening image files of any format that Pillow knows, checked before their pixels are decoded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO

from PIL import ExifTags, Image, UnidentifiedImageError

from ticodec.container import MAX_PIXELS, is_tic
from ticodec.errors import BadInputError, TicodecError
from ticodec.notes import Note

from .options import PLAIN, Reading

#: Called with an image's (height, width) before its pixels are decoded; raises to refuse it.
SizeCheck = Callable[[int, int], None]


def open_image(
    data: bytes,
    max_pixels: int = MAX_PIXELS,
    check: SizeCheck | None = None,
    reading: Reading = PLAIN,
) -> tuple[Image.Image, list[Note]]:
    """Decode an image file's bytes completely; returns notes too, of what could not be decoded.

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
    return image, []


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
