"""Converts colours to sRGB with ICC profiles. It needs LittleCMS, which most Pillow builds have."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image, features

from ticodec.errors import BadInputError


class ConversionError(Exception):
    """The profile cannot be used."""


def can_convert() -> bool:
    """Whether this build of Pillow has LittleCMS."""
    return bool(features.check("littlecms2"))


def to_srgb(image: Image.Image, icc: bytes) -> Image.Image:
    """Convert an image "RGB", "L", "CMYK" or "LAB" to sRGB, mode "RGB". Its white becomes white.

    Raises ConversionError if the profile cannot be used, or if there is no LittleCMS.
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
    """As `to_srgb`, for an "L" image, whose profile may be for grey or for RGB.

    If the channels of the results differ by at most two levels, which nobody sees, they are made
    equal.
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
    """Convert a "LAB" image without a profile to sRGB.

    Raises BadInputError if there is no LittleCMS.
    """
    if not can_convert():
        raise BadInputError(
            "an image in Lab colours, which this build of Pillow cannot convert; save it as RGB"
        )
    return image.convert("RGB")
