"""Opens image files of any format that Pillow reads, and checks them before decoding pixels."""

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

#: Called with an image's (height, width) before its pixels are decoded. It raises an error to
#: refuse the image.
SizeCheck = Callable[[int, int], None]


def open_image(
    data: bytes,
    max_pixels: int = MAX_PIXELS,
    check: SizeCheck | None = None,
    reading: Reading = PLAIN,
) -> tuple[Image.Image, list[Note]]:
    """Decode an image file completely. Also returns notes on what could not be decoded.

    The image has the mode that Pillow gives it. Its orientation is not applied yet.

    Args:
        data: the whole file.
        max_pixels: the most pixels that the image may have.
        check: called with (height, width) before pixels are decoded. It raises an error to refuse
            the image.
        reading: says whether pixels may be missing at the end of a JPEG.

    Raises BadInputError if the file is not an image, is damaged, is a camera's raw file, needs a
    package that is not installed, or has too many pixels. Both checks of the size use the header,
    before memory is allocated for the pixels. Also raises whatever `check` raises.
    """
    opener = opener_of(data)
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
            _check_pixels(image.height, image.width, max_pixels)  # the header may be wrong
            return image, notes
    except UnidentifiedImageError as error:
        raise BadInputError(formats.no_image(data)) from error
    except (TicodecError, MemoryError):
        raise
    except Exception as error:  # Pillow's plugins raise many kinds of errors for damaged files
        if is_memory_short(error):
            raise
        raise BadInputError(f"damaged image: {' '.join(str(error).split())}") from error


def opener_of(data: bytes) -> Callable[[BytesIO], Image.Image]:
    """The function that opens an image file. It decodes no pixels yet, except of JPEG XL.

    Args:
        data: the whole file.

    Raises BadInputError if the file is empty, a .tic file or a camera's raw file, or if it needs a
    package that is not installed.
    """
    if not data:
        raise BadInputError("the file is empty")
    if is_tic(data):
        raise BadInputError("not an image but a .tic file; decode it first")
    if formats.is_raw(data):
        raise BadInputError(formats.RAW)
    return formats.opener(data)


def _decoded(image: Image.Image, data: bytes, reading: Reading) -> tuple[Image.Image, list[Note]]:
    """Decode the pixels of an image that Pillow has opened. Returns notes on missing pixels too."""
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
    """Open a JPEG XL image. Its header is checked first, because its plugin decodes on opening."""
    facts = jpegxl.facts(data)
    _check_pixels(facts.height, facts.width, max_pixels)
    if check is not None:
        check(facts.height, facts.width)
    try:
        image = opener(BytesIO(data))
    except RuntimeError as error:  # its text does not help: it is about building the plugin
        raise BadInputError("damaged image: not all of this JPEG XL file can be decoded") from error
    image.load()
    return image, jpegxl.complete(image, data)


def _check_pixels(height: int, width: int, most: int) -> None:
    """Raises BadInputError if an image has too many pixels."""
    if height * width > most:
        raise BadInputError(
            f"the image has {width}×{height} pixels, more than the limit of {most:,}; "
            "raise `max_pixels` if you trust the file"
        )


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(height, width) of an image after its orientation is applied. Decodes no pixels."""
    turned = orientation_of(image) in QUARTER_TURNS
    return (image.width, image.height) if turned else (image.height, image.width)


_opening = threading.Lock()
_opened: list[int | None] = []


@contextmanager
def _without_pillows_limit() -> Iterator[None]:
    """Switch off Pillow's limit of pixels, because `open_image` has its own.

    All threads share the limit, so it is off as long as any thread is in this block.
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
            # The first entry is the limit from before the first thread came. It stays in the list
            # until the last thread leaves.
            _opened.pop()
