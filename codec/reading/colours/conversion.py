"""Colours to sRGB through ICC profiles, by LittleCMS, which most builds of Pillow have."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image, features

from ticodec.errors import BadInputError


class ConversionError(Exception):
    """The profile cannot be used."""


def can_convert() -> bool:
    """Whether this Pillow has LittleCMS."""
    return bool(features.check("littlecms2"))


def to_srgb(image: Image.Image, icc: bytes) -> Image.Image:
    """An image "RGB", "L", "CMYK" or "LAB" as sRGB, "RGB", relative to its white.

    Raises ConversionError when its profile cannot be used for that, or there is no LittleCMS.
    """
    if not can_convert():
        raise ConversionError
    from PIL import ImageCms

    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(BytesIO(icc)),
            ImageCms.createProfile("sRGB"),
            image.mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        return transform.apply(image)
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        raise ConversionError from error


def greys_to_srgb(image: Image.Image, icc: bytes) -> Image.Image:
    """As `to_srgb`, for an "L" image, whose profile may be of grey, or of RGB.

    A hue of at most two levels, which nobody sees, is removed.
    """
    ramp = Image.frombytes("L", (256, 1), bytes(range(256)))
    try:
        made = to_srgb(ramp, icc)
    except ConversionError:
        made = to_srgb(ramp.convert("RGB"), icc)
    table = np.asarray(made)[0].astype(np.int16)
    if np.ptp(table, axis=1).max() <= 2:
        table = np.repeat(table[:, 1:2], 3, axis=1)
    return image.convert("RGB").point(table.T.ravel().tolist())


def lab_to_srgb(image: Image.Image) -> Image.Image:
    """A "LAB" image without a profile as sRGB. Raises BadInputError where there is no LittleCMS."""
    if not can_convert():
        raise BadInputError(
            "an image in Lab colours, which this build of Pillow cannot convert; save it as RGB"
        )
    return image.convert("RGB")
