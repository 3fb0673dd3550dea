"""What an image file has beside the one picture that is kept, found in its own structure.

Nothing is decoded. The steps are counted and have a limit, since files may be damaged or hostile.
All that was found of one kind becomes one note.
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

#: Adds what a file has beside its picture to Found. Raises TooManySteps for a file of far more
#: parts than real ones have.
Look = Callable[[bytes, Image.Image, Found], None]
#: How files are looked into, by Pillow's name of their format.
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
    """A note for everything in the file that its picture does not have; one for each kind.

    Args:
        data: the whole file. image: as Pillow has opened and loaded it.
    """
    found = Found()
    try:
        LOOKS.get(image.format or "", other_files.look_at_frames)(data, image, found)
    except Exception:  # the picture is good, whatever is wrong with the rest of its file
        found.add("metadata", "what is behind a damaged part")
    notes = found.notes()
    if image.format not in LOOKS:  # else it would be taken for whole
        text = f"only the picture of a {image.format} file is kept; what else it has is not known"
        notes.append(Note("metadata", text))
    return notes
