"""Corrects the transparent colour of a PNG that has no alpha channel."""

from __future__ import annotations

from io import BytesIO

from PIL import Image, ImageChops, PngImagePlugin

from .stored import Stored


def with_right_transparency(image: Image.Image, data: bytes, stored: Stored) -> Image.Image:
    """Convert the transparent colour to the samples of the Pillow image, or to an alpha channel.

    Pillow reports the colour in the samples of the file. But it converts samples of 2 and 4 bits to
    8 bits, and drops the lower byte of the samples of 16-bit RGB.

    Args:
        image: the image as opened from `data`. It may be changed.
        data: the file.
        stored: how the file stores its samples.
    """
    colour = image.info.get("transparency")
    if image.mode == "L" and isinstance(colour, int) and 1 < stored.bits < 8:
        image.info["transparency"] = colour * 255 // (2**stored.bits - 1)
    elif image.mode == "RGB" and isinstance(colour, tuple) and stored.bits == 16:
        image.putalpha(_other_than(colour, image, data))  # this removes the colour from `info`
    return image


def _other_than(colour: tuple[int, ...], image: Image.Image, data: bytes) -> Image.Image:
    """Make the alpha of a 16-bit RGB file: 0 where the pixel has the colour, 255 elsewhere."""
    low = PngImagePlugin.PngImageFile(BytesIO(data))
    low.tile = [tile._replace(args="RGB;16L") for tile in low.tile]  # the other byte of each sample
    low.load()
    wanted_bytes = [sample >> 8 for sample in colour] + [sample & 255 for sample in colour]
    alpha = Image.new("L", image.size)
    for plane, wanted in zip((*image.split(), *low.split()), wanted_bytes, strict=True):
        alpha = ImageChops.lighter(alpha, plane.point([255 * (v != wanted) for v in range(256)]))
    return alpha
