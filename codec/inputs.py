"""Turns the arguments of callers into containers and pictures, and checks other arguments.

str, PathLike ────┐
bytes-like        ├─► bytes ─┬─► Container
binary file ──────┘          └─► Picture ◄─── Pillow image, uint8 array
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from . import container as tic
from .container import MAX_PIXELS, Container
from .errors import BadInputError, UsageError
from .files import read_file, reason
from .picture import Picture
from .reading.opening import SizeCheck, upright_size
from .reading.options import PLAIN, Reading
from .reading.read import read_picture, to_picture

#: A whole file: its path, its bytes, or a file object in binary mode (read from its position on).
FileLike = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO
#: An image: a file of any format that Pillow knows, or an image in memory.
ImageLike = FileLike | Image.Image | NDArray[Any] | Picture

#: A picture can be decoded at 1/scale of its size, for these scales.
SCALES = (1, 2, 4, 8)

FILES = "a path, bytes or a binary file"


def bytes_of(source: object, name: str = "data", kinds: str = FILES) -> bytes:
    """Read a path, anything bytes-like, or the rest of a file object in binary mode.

    Args:
        name: what messages call the argument.
        kinds: what messages say that the argument may be.

    Raises UsageError for anything else, BadInputError if a file cannot be read.
    """
    if isinstance(source, str | os.PathLike):
        return read_file(_path(name, source))
    if isinstance(source, bytes):
        return source
    if hasattr(source, "read"):
        return _read(source, name)
    try:
        return memoryview(source).tobytes()  # type: ignore[arg-type]
    except TypeError:
        raise UsageError(f"{name} must be {kinds}, not {_kind(source)}") from None


@contextmanager
def _named(source: object) -> Iterator[None]:
    """Put the path of a file in front of errors about its content."""
    try:
        yield
    except BadInputError as error:
        if not isinstance(source, str | os.PathLike):
            raise
        raise BadInputError(f"{os.fsdecode(source)}: {error}") from error


def _read(file: Any, name: str) -> bytes:
    """Read the rest of a file object."""
    text = UsageError(f"{name} is a file in text mode; open it in binary mode ('rb')")
    if isinstance(file, io.TextIOBase):
        raise text
    if isinstance(file, type):
        raise UsageError(f"{name} must be an open file, not the class {file.__name__}")
    try:
        data = file.read()
    except io.UnsupportedOperation:
        raise UsageError(f"{name} is a file that is not open for reading") from None
    except OSError as error:
        raise BadInputError(f"{name}: the file cannot be read: {reason(error)}") from error
    except ValueError as error:
        raise UsageError(f"{name}: the file cannot be read: {error}") from error
    if isinstance(data, str):
        raise text
    if data is None:
        raise BadInputError(f"{name}: the file has no data yet")
    return bytes_of(data, name, "a file whose read() returns bytes")


def as_container(source: FileLike | Container, max_pixels: int = MAX_PIXELS) -> Container:
    """Parse and check a `.tic` file. A `Container` is returned unchanged.

    Raises BadInputError if it is not an intact `.tic` file, or has more than `max_pixels` pixels.
    """
    if isinstance(source, Container):
        return source
    whole("max_pixels", max_pixels)
    data = bytes_of(source)
    with _named(source):
        return tic.read(data, max_pixels)


def as_picture(
    image: ImageLike,
    max_pixels: int = MAX_PIXELS,
    check: SizeCheck | None = None,
    reading: Reading = PLAIN,
) -> Picture:
    """Turn a file, Pillow image or uint8 array (H, W), (H, W, 3) or (H, W, 4) into a `Picture`.

    A `Picture` is checked and returned unchanged.

    Args:
        check: see `open_image`. It is called before pixels are decoded or copied.
        reading: options for reading an image file.

    Raises BadInputError if a file cannot be read, UsageError for anything that is not an image or
    has too many pixels, and whatever `check` raises.
    """
    whole("max_pixels", max_pixels)
    if isinstance(image, Picture):
        image.check()
        height, width = image.pixels.shape[:2]
        _check_size(width, height, max_pixels)
        if check is not None:
            check(height, width)
        return image
    if not isinstance(image, np.ndarray | Image.Image):
        data = bytes_of(image, "image", IMAGES)
        with _named(image):
            return read_picture(data, max_pixels, check, reading)
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8:
            raise UsageError(f"an image array must be uint8, not {image.dtype}")
        if image.ndim != 2 and (image.ndim != 3 or image.shape[2] not in (3, 4)):
            raise UsageError(f"an image array must be (H, W), (H, W, 3 or 4), not {image.shape}")
        if not image.size:
            raise UsageError("the image has no pixels")
        image = Image.fromarray(image)
    _check_size(image.width, image.height, max_pixels)
    if check is not None:
        check(*upright_size(image))
    return to_picture(image, reading)


IMAGES = "a path, bytes, a binary file, a Pillow image or a uint8 array"


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height == 0:
        raise UsageError("the image has no pixels")
    if width * height > max_pixels:
        raise UsageError(
            f"the image has {width}×{height} pixels, more than the limit of {max_pixels:,}; "
            "raise `max_pixels`"
        )


def tic_or_picture(
    image: ImageLike | Container, max_pixels: int = MAX_PIXELS, check: SizeCheck | None = None
) -> Any:
    """Turn a `.tic` file into a `Container`, and any other image into a `Picture`.

    A file whose name ends in .tic is treated as a `.tic` file, whatever its content.

    Args:
        check: see `as_picture`.

    Raises the errors of `as_container` and `as_picture`.
    """
    if isinstance(image, Container):
        return image
    if isinstance(image, Picture | Image.Image | np.ndarray):
        return as_picture(image, max_pixels, check)
    data = bytes_of(image, "image", f"a .tic file or an image: {IMAGES}")
    named = isinstance(image, str | os.PathLike) and os.fsdecode(image).lower().endswith(".tic")
    with _named(image):
        if named or tic.is_tic(data):
            return as_container(data, max_pixels)
        try:
            return as_picture(data, max_pixels, check)
        except BadInputError as error:
            raise BadInputError(f"not a .tic file, nor a readable image: {error}") from error


def whole(name: str, value: object, least: int = 1) -> None:
    """Raises UsageError unless `value` is a whole number, and at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise UsageError(f"`{name}` must be a whole number, not {_kind(value)}")
    if value < least:
        raise UsageError(f"`{name}` must be at least {least}, not {value}")


def checked_scale(scale: int) -> int:
    """Return the scale. Raises UsageError unless it is one of `SCALES`."""
    whole("scale", scale)
    if scale not in SCALES:
        raise UsageError(f"`scale` must be 1, 2, 4 or 8, not {scale}")
    return int(scale)


def check_device(device: object) -> None:
    """Raises UsageError unless the argument is the name of a device.

    It does not check that this machine has the device: `device.pick_device` does, which has to
    import torch.
    """
    if not isinstance(device, str):
        raise UsageError(f"device must be a name (str), not {_kind(device)}")
    if not re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", device):
        raise UsageError(f"unknown device {device!r}; known: auto, cpu, cuda, cuda:0, cuda:1, …")


def path_of(name: str, value: object) -> Path | None:
    """Convert an argument to a Path; None stays None. Raises UsageError if it is not a path."""
    if value is None:
        return None
    if not isinstance(value, str | os.PathLike):
        raise UsageError(f"`{name}` must be a path, not {_kind(value)}")
    return _path(f"`{name}`", value)


def _path(shown: str, value: str | os.PathLike[Any]) -> Path:
    path = os.fsdecode(value)
    if not path:  # `Path("")` would be the current folder
        raise UsageError(f"{shown} is an empty path")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", path):
        raise UsageError(f"{shown} is a URL, {path}; read it yourself and give the bytes")
    return Path(path)


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__
