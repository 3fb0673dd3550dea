"""The public functions: files, arrays or Pillow images in; bytes, Pillow images or labels out."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from ticodec import weights

from . import images
from .container import MAX_PIXELS, read
from .images import ImageLike

if TYPE_CHECKING:
    from .classifier import Label
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


def classify(
    image: bytes | ImageLike,
    top: int = 5,
    head: str | Path | None = None,
    device: str = "auto",
    max_pixels: int = MAX_PIXELS,
) -> list[Label]:
    """What is in the bytes of a `.tic` file, from its latents; no pixel is made.

    Args:
        image: the bytes; or any image that `encode` takes, encoded in memory at quality 4.
        top: how many labels, the most probable first; fewer when there are fewer.
        head: a classifier's file; None: the one that the file's weights come with.

    Returns a list of labels, each with `label` and `probability` (0 … 1).
    Raises BadInputError when the data is damaged, too large, its weights are not here or have no
    classifier.
    """
    data = image if isinstance(image, bytes) else encode(image, None, None, device, max_pixels)
    header = read(data, max_pixels).header
    entry = weights.find_fingerprint(header.fingerprint, header.model_name)
    return loaded(entry, device).classify(data, top, head, max_pixels)


@lru_cache(maxsize=4)
def loaded(entry: weights.Entry, device: str) -> Codec:
    """The codec of an entry, kept for the next call."""
    from .codec import Codec

    return Codec(entry, device)
