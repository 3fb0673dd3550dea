"""Samples of any kind to 8 bits; alpha apart; and whether a picture is grey."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ticodec.notes import Note
from ticodec.picture import Pixels


def eight_bit(image: Image.Image, notes: list[Note]) -> tuple[Image.Image, Pixels | None]:
    """An image of 8 bits a channel without alpha, and its alpha (H, W) uint8; None: it is opaque.

    16-bit samples are reduced to 8; float samples are taken as 0 … 255.

    Args:
        notes: what is lost is added here.
    """
    key = image.info.get("transparency")
    alpha = None
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I"):
        wide = np.asarray(image.convert("I")).clip(0, 65535)
        alpha = np.where(wide == key, 0, 255).astype(np.uint8) if key is not None else None
        image = Image.fromarray((wide / 257).round().astype(np.uint8))
    elif image.mode == "F":
        samples = np.nan_to_num(np.asarray(image)).clip(0, 255)
        image = Image.fromarray(samples.round().astype(np.uint8))
    elif image.has_transparency_data:
        alpha = np.array(image.convert("RGBA").getchannel("A"))
    if alpha is not None and (alpha == 255).all():
        alpha = None
    return image, alpha


def is_grey(pixels: Pixels) -> bool:
    """Whether the three channels of (H, W, 3) uint8 pixels are the same everywhere."""
    red, green, blue = (pixels[..., channel] for channel in range(3))
    return bool((red == green).all() and (green == blue).all())
