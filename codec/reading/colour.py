"""Colours of any space to RGB, with an ICC profile that says which RGB, or none: sRGB."""

from __future__ import annotations

from PIL import Image

from ticodec.notes import Note

from .options import Reading


def to_rgb(
    image: Image.Image, metadata: dict[str, bytes], reading: Reading, notes: list[Note]
) -> Image.Image:
    """An 8-bit image without alpha in mode "RGB".

    Args:
        metadata: its "icc" is removed where it says nothing about the RGB pixels.
        notes: what is converted or lost is added here.
    """
    if image.mode == "CMYK":
        metadata.pop("icc", None)
    return image.convert("RGB")
