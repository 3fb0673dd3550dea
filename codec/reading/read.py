"""The way of a photo in: the order of the steps, and who does each.

bytes ─► open_image ─► upright ─► eight_bit ─► to_rgb ─► pixels, alpha, metadata ─┬─► Picture
  ├────► stored_as, what the image does not tell ─┘                               │
  └────► inspected ───► notes, to which each step adds ───────────────────────────┘
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
    """The picture of an image file's bytes: upright, 8-bit RGB.

    Its notes, one of a kind, say what of the file is not kept or was converted.

    Args:
        data, max_pixels, check: as `open_image` takes them.
        reading: what to leave out, and whether a JPEG may lack its end.

    Raises as `open_image` and `to_picture` do.
    """
    image, notes = open_image(data, max_pixels, check, reading)
    complete(image, data)
    notes += inspected(data, image)
    stored = stored_as(image, data)
    picture = to_picture(with_right_transparency(image, data, stored), reading, stored)
    # Of two notes of a kind the first is kept: the file's structure says more than Pillow's image.
    first: dict[str, Note] = {}
    for note in [*notes, *picture.notes]:
        wished = reading.strip and note.kind in METADATA
        first.setdefault(note.kind, note.as_wished() if wished else note)
    picture.notes, picture.file_size = list(first.values()), len(data)
    return picture


def to_picture(
    image: Image.Image, reading: Reading = PLAIN, stored: Stored | None = None
) -> Picture:
    """Any Pillow image to a picture: upright, 8-bit RGB (H, W, 3), alpha and metadata apart.

    Args:
        image: of any mode.
        reading: what to leave out.
        stored: how its file stores it; None: as far as the image tells.

    Raises BadInputError when the pixels cannot be converted.
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
        raise BadInputError(f"an image that cannot be converted to RGB: {error}") from error
    return Picture(pixels, is_grey(pixels), alpha, metadata, notes)
