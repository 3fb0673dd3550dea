"""Image files with known colours, written by real encoders, and how viewers show pictures."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo
from support import make_pixels

from ticodec.picture import Picture
from ticodec.reading.colours import icc, transfer
from ticodec.reading.colours.primaries import BT_709

PIXELS = make_pixels(40, 60)
GREY = np.repeat(PIXELS[..., :1], 3, axis=2)
GAMMA_18 = transfer.formula(1.8)


def png(pixels: np.ndarray = PIXELS, icc_profile: bytes | None = None, **chunks: bytes) -> bytes:
    """A PNG that Pillow wrote, with these chunks."""
    more, out = PngInfo(), io.BytesIO()
    for name, payload in chunks.items():
        more.add(name.encode(), payload)
    Image.fromarray(pixels).save(out, "PNG", pnginfo=more, icc_profile=icc_profile)
    return out.getvalue()


def file_of(image: Image.Image, format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def gamma(value: float) -> bytes:
    return struct.pack(">I", round(value * 100_000))


def chromaticities(values: tuple[float, ...]) -> bytes:
    return struct.pack(">8I", *(round(value * 100_000) for value in values))


def shown(picture: Picture) -> np.ndarray:
    """The pixels that a viewer which honours ICC profiles shows: sRGB, (H, W, 3), 0 … 255."""
    image = picture.to_image()
    if "icc_profile" in image.info:
        own = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        image = ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"), 1, "RGB")
    return np.asarray(image.convert("RGB")).astype(float)


def expected(pixels: np.ndarray, primaries: tuple[float, ...], power: float) -> np.ndarray:
    """What `shown` should return for these pixels, computed from the formulas of colour spaces.

    Args:
        pixels: (H, W, 3), 0 … 255.
        primaries: their chromaticities.
        power: the exponent that makes the pixels linear.
    """
    linear = (pixels / 255) ** power @ icc.to_d50(primaries).T
    linear = linear @ np.linalg.inv(icc.to_d50(BT_709)).T
    return transfer.srgb_samples(linear.clip(0, 1)) * 255
