"""Finds what an image file has besides the one picture that is kept, from the file's structure.

Nothing is decoded. The number of steps is limited, because files may be damaged or hostile. All
findings of one kind become one note.
"""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from ticodec.notes import Note

from .structure import (
    gif_file,
    heif_file,
    jpeg2000_file,
    jpeg_file,
    other_files,
    png_file,
    riff_file,
    tiff_file,
)
from .structure.found import Found

#: Adds to Found what a file has besides its picture. Raises TooManySteps if the file has far more
#: parts than real files have.
Look = Callable[[bytes, Image.Image, Found], None]
#: The function that inspects a file, by Pillow's name of the format.
LOOKS: dict[str, Look] = {
    "AVIF": heif_file.look,
    "BMP": other_files.look_at_bmp,
    "CUR": other_files.look_at_ico,
    "GIF": gif_file.look,
    "HEIF": heif_file.look,
    "ICNS": other_files.look_at_icns,
    "ICO": other_files.look_at_ico,
    "JPEG": jpeg_file.look,
    "JPEG2000": jpeg2000_file.look,
    "JXL": other_files.look_at_jpeg_xl,
    "MPO": jpeg_file.look,
    "PNG": png_file.look,
    "PPM": other_files.look_at_pnm,
    "PSD": other_files.look_at_psd,
    "SGI": other_files.look_at_sgi,
    "TIFF": tiff_file.look,
    "WEBP": riff_file.look,
}


def inspected(data: bytes, image: Image.Image) -> list[Note]:
    """Make notes on everything that the file has and its picture does not, one for each kind.

    Args:
        data: the whole file.
        image: the image that Pillow has opened and loaded from the file.
    """
    found = Found()
    try:
        LOOKS.get(image.format or "", other_files.look_at_frames)(data, image, found)
    except Exception:  # the picture was decoded, so damage in the rest of the file is no error
        found.add("metadata", "what follows a damaged part")
    notes = found.notes()
    if image.format not in LOOKS:  # without a note, the file would seem to be kept completely
        text = f"only the picture of a {image.format} file is kept; what else it has is not known"
        notes.append(Note("metadata", text))
    return notes
