"""Opens the images of a training folder, and says which of its files cannot be used, and why."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from ticodec.errors import BadInputError, TicodecError
from ticodec.reading import formats
from ticodec.reading.opening import opener_of
from ticodec.shown import shown

#: How many unusable files a message names.
NAMED = 3


def open_photo(path: Path) -> Image.Image:
    """Open an image file of any format that the encoder reads. Decodes no pixels yet.

    Pillow's limit on the number of pixels applies.

    Raises:
        BadInputError: The file is not an image, is a camera's raw file, or needs a package that is
            not installed. Pillow's plugins raise many other errors on damaged files.
    """
    data = path.read_bytes()
    try:
        return opener_of(data)(BytesIO(data))
    except UnidentifiedImageError as error:
        raise BadInputError(formats.no_image(data)) from error


def why_unusable(error: Exception) -> str:
    """Why a file cannot be read, in one line, from the error that reading it raised."""
    text = " ".join(str(error).split())
    if isinstance(error, TicodecError):
        return text
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    if isinstance(error, Image.DecompressionBombError):
        return "the image has too many pixels"
    return f"damaged image: {text or type(error).__name__}"


def too_small(size: tuple[int, ...], smallest: int) -> str:
    """Why an image of this (height, width) cannot be used where it must hold a square.

    Args:
        size: height and width in pixels.
        smallest: the side of the square in pixels.
    """
    height, width = size
    return f"{width}×{height} pixels are too few for a crop of {smallest}×{smallest}"


def listed(unusable: Mapping[Path, str], folder: Path) -> str:
    """The end of a line about a training folder: how many files are left out, which ones, and why.

    Args:
        unusable: why each file is left out.
        folder: the training folder. The names are relative to it.
    """
    lines = [f"{len(unusable)} left out" + (":" if unusable else "")]
    for path, why in list(unusable.items())[:NAMED]:
        lines.append(f"  {shown(str(path.relative_to(folder)))}: {shown(why)}")
    if len(unusable) > NAMED:
        lines.append(f"  and {len(unusable) - NAMED} more")
    return "\n".join(lines)
