"""Reads a photo: the steps, and the functions that do them.

bytes ─► open_image ─► upright ─► eight_bit ─► to_rgb ─► pixels, alpha, metadata ─┬─► Picture
  ├────► stored_as, facts that the image lacks ───┘                               │
  └────► inspected ───► notes; each step adds more ───────────────────────────────┘
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from ticodec.container import MAX_PIXELS
from ticodec.errors import BadInputError, TicodecError
from ticodec.notes import Note
from ticodec.picture import Picture

from .colour import to_rgb
from .inspection import inspected
from .metadata import complete, upright
from .opening import SizeCheck, open_image
from .options import METADATA, PLAIN, Reading
from .samples import eight_bit, is_grey
from .stored import Stored, stored_as
from .transparent_colour import with_right_transparency


def read_picture(
    data: bytes,
    max_pixels: int = MAX_PIXELS,
    check: SizeCheck | None = None,
    reading: Reading = PLAIN,
) -> Picture:
    """Read the picture of an image file: upright, 8-bit RGB.

    Its notes say what is lost or converted. There is at most one note of each kind.

    Args:
        data, max_pixels, check: see `open_image`.
        reading: what to leave out, and whether the end of a JPEG may be missing.

    Raises the errors of `open_image` and `to_picture`.
    """
    image, notes = open_image(data, max_pixels, check, reading)
    complete(image, data)
    notes += inspected(data, image)
    stored = stored_as(image, data)
    picture = to_picture(with_right_transparency(image, data, stored), reading, stored)
    # If there are several notes of one kind, the first is kept. It comes from the file's structure,
    # which says more than Pillow's image.
    first: dict[str, Note] = {}
    for note in [*notes, *picture.notes]:
        asked_for = reading.strip and note.kind in METADATA
        first.setdefault(note.kind, note.as_wished() if asked_for else note)
    picture.notes, picture.file_size = list(first.values()), len(data)
    return picture


def to_picture(
    image: Image.Image, reading: Reading = PLAIN, stored: Stored | None = None
) -> Picture:
    """Turn any Pillow image into a picture: upright, 8-bit RGB, with separate alpha and metadata.

    Args:
        image: of any mode.
        reading: what to leave out.
        stored: how the file stores the image. None means to find out from the image alone.

    Raises BadInputError if the pixels cannot be converted.
    """
    notes: list[Note] = []
    stored = stored or stored_as(image)
    try:
        image, metadata = upright(image, reading, notes)
        image, alpha = eight_bit(image, notes, stored)
        image = to_rgb(image, metadata, reading, notes, stored)
        pixels = np.array(image)
    except TicodecError:
        raise
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadInputError(f"the image cannot be converted to RGB: {error}") from error
    return Picture(pixels, is_grey(pixels), alpha, metadata, notes)
