"""Makes photos with metadata by real encoders, for the tests of what a file keeps."""

from __future__ import annotations

import io

import numpy as np
import piexif
from PIL import Image
from support import make_pixels

from ticodec.picture import Picture
from ticodec.reading.options import PLAIN, Reading
from ticodec.reading.read import read_picture
from ticodec.writers import writer_of

#: Size of the tests' photos when they are upright. Their top left is bright.
HEIGHT, WIDTH = 48, 72
#: A maker note with its own offsets, which other programs cannot adjust.
MAKER_NOTE = b"FUJIFILM\x0c\0\0\0" + bytes(range(256)) * 4
#: Degrees, minutes and seconds with numbers that no other tag has.
NORTH, EAST = ((48, 1), (51, 1), (29831, 100)), ((2, 1), (17, 1), (40417, 100))
#: The transposition that stores an upright image, by orientation.
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def upright_photo(size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """A smooth photo that looks different in every orientation."""
    pixels = make_pixels(size[1], size[0])
    pixels[: size[1] // 3, : size[0] // 2] = 250
    pixels[size[1] // 2 :, size[0] // 3 :] = 5
    return Image.fromarray(pixels)


def stored(image: Image.Image, orientation: int) -> Image.Image:
    """The image as a camera that was held in this orientation stores it."""
    return image.transpose(STORED[orientation]) if orientation > 1 else image


def jpeg_bytes(image: Image.Image, **how: object) -> bytes:
    return saved(image, "JPEG", quality=95, subsampling="4:4:4", **how)


def saved(image: Image.Image, format: str, **how: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **how)
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def rich_exif(orientation: int | None = None, **parts: dict) -> bytes:
    """EXIF that piexif wrote, with all tags that are easily lost. It has the prefix "Exif".

    Args:
        orientation: its tag of orientation. None for no such tag.
        parts: more tags, by the directory that they are in.
    """
    size = (WIDTH, HEIGHT) if (orientation or 1) < 5 else (HEIGHT, WIDTH)
    small = stored(upright_photo(), orientation or 1).resize((size[0] // 2, size[1] // 2))
    picture = {271: "Maker", 315: "Ånne".encode(), 282: (300, 1), 283: (300, 1), 296: 2}
    camera = {37500: MAKER_NOTE, 40962: size[0], 40963: size[1], 36867: "2024:05:06 07:08:09"}
    place = {1: "N", 2: NORTH, 3: "E", 4: EAST}
    second = {259: 6, **parts.get("first", {})}
    if orientation is not None:
        picture[274] = orientation
        second[274] = orientation
    return piexif.dump(
        {
            "0th": picture | parts.get("zeroth", {}),
            "Exif": camera | parts.get("camera", {}),
            "GPS": place,
            "Interop": {1: "R98"},
            "1st": second,
            "thumbnail": jpeg_bytes(small, optimize=False),
        }
    )


def read(data: bytes, reading: Reading = PLAIN) -> Picture:
    return read_picture(data, reading=reading)


def rewritten(picture: Picture, suffix: str) -> Image.Image:
    """The decoded picture after writing it and opening the file by Pillow, without turning it."""
    return Image.open(io.BytesIO(writer_of(suffix).write(picture.to_image())))


def far(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of two images in grey levels. Infinite if their sizes differ."""
    if one.size != other.size:
        return float("inf")
    pair = [np.asarray(image.convert("RGB")).astype(float) for image in (one, other)]
    return float(abs(pair[0] - pair[1]).mean())
