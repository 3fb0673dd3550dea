"""The public functions: files, arrays or Pillow images in, bytes or Pillow images out."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from PIL import Image

from ticodec import weights

from . import images
from .container import MAX_PIXELS, read
from .images import ImageLike

if TYPE_CHECKING:
    from .codec import Codec


def load(model: str | None = None, device: str = "auto", bf16: bool | None = None) -> Codec:
    """A codec for many images.

    Args:
        model: name as shown by `ticodec models`; None: the default one.
        device: "auto", "cpu" or "cuda".
        bf16: transforms in bf16; None: where the hardware is fast at it.

    Raises UsageError for an unknown model or device, BadInputError for damaged weights.
    """
    from .codec import Codec

    return Codec.load(model, device, bf16)


def encode(
    image: ImageLike,
    quality: float | None = None,
    model: str | None = None,
    device: str = "auto",
    max_pixels: int = MAX_PIXELS,
) -> bytes:
    """An image to the bytes of a `.tic` file.

    Args:
        image: a path, a Pillow image of any mode, or a uint8 array (H, W), (H, W, 3) or
            (H, W, 4); any size from 1×1.
        quality: 1 (smallest) to 8 (best), fractions allowed; None: 4.
        model, device: as `load` takes them.
        max_pixels: larger images are refused.

    Raises BadInputError when the image cannot be read, UsageError for bad arguments.
    """
    picture = images.as_picture(image, max_pixels)
    return loaded(weights.find(model), device).encode(picture, quality)


def decode(data: bytes, device: str = "auto", max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The bytes of a `.tic` file to a Pillow image ("RGB", "L", "RGBA" or "LA").

    ICC profile, EXIF and XMP are in its `info`.

    Raises BadInputError when the data is damaged, too large, or its weights are not here.
    """
    header = read(data, max_pixels).header
    entry = weights.find_fingerprint(header.fingerprint, header.model_name)
    return loaded(entry, device).decode(data, max_pixels).to_image()


@lru_cache(maxsize=4)
def loaded(entry: weights.Entry, device: str) -> Codec:
    """The codec of an entry, kept for the next call."""
    from .codec import Codec

    return Codec(entry, device)
