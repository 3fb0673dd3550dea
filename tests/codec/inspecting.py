"""Helpers of the tests of inspection: they make image files and return the notes of a file."""

from __future__ import annotations

from io import BytesIO

import pillow_heif
from PIL import Image
from support import make_pixels

from ticodec.reading.inspection import LOOKS, inspected
from ticodec.reading.structure.found import Found


def photo(seed: int = 0, size: tuple[int, int] = (48, 64)) -> Image.Image:
    """A generated photo of (height, width) pixels."""
    return Image.fromarray(make_pixels(*size, seed))


def saved(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    """An image file written by Pillow."""
    file = BytesIO()
    (image or photo()).copy().save(file, kind, **options)  # Pillow changes its info
    return file.getvalue()


def heif(*images: Image.Image, **options: object) -> bytes:
    """A HEIC file written by libheif."""
    file = BytesIO()
    pictures = pillow_heif.from_pillow(images[0])
    for image in images[1:]:
        pictures.add_from_pillow(image)
    pictures.save(file, **options)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    """A decoded image. HEIC is opened by pillow_heif, as it may not be registered with Pillow."""
    is_heif = data[4:12] == b"ftypheic" or data[4:12] == b"ftypheix"
    image = pillow_heif.HeifImageFile(BytesIO(data)) if is_heif else Image.open(BytesIO(data))
    image.load()
    return image


def notes_of(data: bytes) -> dict[str, str]:
    """The texts of a file's notes, by kind. Asserts that the whole file has been inspected."""
    image = opened(data)
    if image.format in LOOKS:
        LOOKS[image.format](data, image, Found())  # raises errors that `inspected` would catch
    notes = inspected(data, image)
    assert all(note.lost for note in notes)
    assert len({note.kind for note in notes}) == len(notes)
    return {note.kind: note.text for note in notes}
