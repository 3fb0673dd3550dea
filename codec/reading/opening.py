"""Opening image files of any format that Pillow knows, checked before their pixels are decoded."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO

from PIL import Image, UnidentifiedImageError

from ticodec.container import MAX_PIXELS, is_tic
from ticodec.errors import BadInputError, TicodecError, is_memory_short
from ticodec.notes import Note

from . import formats, jpegxl, truncated
from .metadata import orientation_of
from .options import PLAIN, Reading
from .tags.orientation import QUARTER_TURNS

#: Called with an image's (height, width) before its pixels are decoded; raises to refuse it.
SizeCheck = Callable[[int, int], None]


def open_image(
    data: bytes,
    max_pixels: int = MAX_PIXELS,
    check: SizeCheck | None = None,
    reading: Reading = PLAIN,
) -> tuple[Image.Image, list[Note]]:
    """Decode an image file's bytes completely. Returns notes on what could not be decoded, too.

    The image has the mode that Pillow gives it, and is not turned yet.

    Args:
        data: the whole file.
        max_pixels: the most pixels that it may have.
        check: called with (height, width) before pixels are decoded; raises to refuse the image.
        reading: whether a JPEG may lack pixels at its end.

    Raises BadInputError when it is no image, is damaged, has too many pixels (seen in its header,
    before its pixels are allocated), is a camera's raw file, or needs a package that is not
    installed; and what `check` raises.
    """
    if not data:
        raise BadInputError("the file is empty")
    if is_tic(data):
        raise BadInputError("not an image but a .tic file; decode it first")
    if formats.is_raw(data):
        raise BadInputError(formats.RAW)
    opener = formats.opener(data)
    try:
        with _without_pillows_limit():
            if jpegxl.is_jpegxl(data):
                return _open_jpegxl(opener, data, max_pixels, check)
            image = opener(BytesIO(data))
            if image.format in formats.NO_PICTURES:
                raise BadInputError(formats.no_image(data, image.format))
            _check_pixels(image.height, image.width, max_pixels)
            if check is not None:
                check(*upright_size(image))
            image, notes = _decoded(image, data, reading)
            _check_pixels(image.height, image.width, max_pixels)  # the header may have been wrong
            return image, notes
    except UnidentifiedImageError as error:
        raise BadInputError(formats.no_image(data)) from error
    except (TicodecError, MemoryError):
        raise
    except Exception as error:  # Pillow's plugins raise many kinds on damaged files
        if is_memory_short(error):
            raise
        raise BadInputError(f"damaged image: {' '.join(str(error).split())}") from error


def _decoded(image: Image.Image, data: bytes, reading: Reading) -> tuple[Image.Image, list[Note]]:
    """An image that Pillow has opened, with its pixels; notes on those that are missing."""
    try:
        image.load()
    except OSError:
        found = truncated.completed(data, reading) if image.format in ("JPEG", "MPO") else None
        if found is None:
            raise
        return found
    return image, []


def _open_jpegxl(
    opener: Callable[[BytesIO], Image.Image],
    data: bytes,
    max_pixels: int,
    check: SizeCheck | None,
) -> tuple[Image.Image, list[Note]]:
    """A JPEG XL image. Its plugin decodes pixels at once, so its header is read here first."""
    facts = jpegxl.facts(data)
    _check_pixels(facts.height, facts.width, max_pixels)
    if check is not None:
        check(facts.height, facts.width)
    try:
        image = opener(BytesIO(data))
    except RuntimeError as error:  # whose text says how to build the plugin
        raise BadInputError("damaged image: not all of this JPEG XL file can be decoded") from error
    image.load()
    return image, jpegxl.complete(image, data)


def _check_pixels(height: int, width: int, most: int) -> None:
    """Raises BadInputError when an image has too many pixels."""
    if height * width > most:
        raise BadInputError(
            f"the image has {width}×{height} pixels, more than the limit of {most:,}; "
            "raise `max_pixels` if you trust the file"
        )


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(height, width) of an image once its orientation is applied. Decodes no pixels."""
    turned = orientation_of(image) in QUARTER_TURNS
    return (image.width, image.height) if turned else (image.height, image.width)


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
            # The first entry is the limit before any thread came: it stays until the last one goes.
            _opened.pop()
