"""The transparent colour of a PNG without an alpha channel, as the file means it."""

from __future__ import annotations

from io import BytesIO

from PIL import Image, ImageChops, PngImagePlugin

from .stored import Stored


def with_right_key(image: Image.Image, data: bytes, stored: Stored) -> Image.Image:
    """The image of a file; where its key would be wrong, with the right one or with alpha.

    The key counts in the file's own samples. Pillow leaves it so, and makes samples of 2 and 4
    bits 8-bit ones; of 16-bit RGB it drops the lower half of each sample.

    Args:
        image: as opened from `data`; it may be changed.
    """
    key = image.info.get("transparency")
    if image.mode == "L" and isinstance(key, int) and 1 < stored.bits < 8:
        image.info["transparency"] = key * 255 // (2**stored.bits - 1)
    elif image.mode == "RGB" and isinstance(key, tuple) and stored.bits == 16:
        image.putalpha(_other_than(key, image, data))  # which removes the key
    return image


def _other_than(key: tuple[int, ...], image: Image.Image, data: bytes) -> Image.Image:
    """An "L" image of a 16-bit RGB file: 0 where the pixel is the key, 255 elsewhere."""
    low = PngImagePlugin.PngImageFile(BytesIO(data))
    low.tile = [tile._replace(args="RGB;16L") for tile in low.tile]  # the other byte of each sample
    low.load()
    bytes_of_key = [sample >> 8 for sample in key] + [sample & 255 for sample in key]
    alpha = Image.new("L", image.size)
    for plane, wanted in zip((*image.split(), *low.split()), bytes_of_key, strict=True):
        alpha = ImageChops.lighter(alpha, plane.point([255 * (v != wanted) for v in range(256)]))
    return alpha
