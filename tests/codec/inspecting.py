"""What the tests of inspection share: photos of numbers as files, and the notes of a file."""

from __future__ import annotations

from io import BytesIO

import pillow_heif
from PIL import Image
from support import make_pixels

from ticodec.reading.inspection import LOOKS, inspected
from ticodec.reading.structure.found import Found


def photo(seed: int = 0, size: tuple[int, int] = (48, 64)) -> Image.Image:
    """A photo of numbers, of (height, width) pixels."""
    return Image.fromarray(make_pixels(*size, seed))


def saved(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    """An image file as Pillow writes it."""
    file = BytesIO()
    (image or photo()).copy().save(file, kind, **options)  # Pillow leaves options behind
    return file.getvalue()


def heif(*images: Image.Image, **options: object) -> bytes:
    """A HEIC file as libheif writes it."""
    file = BytesIO()
    pictures = pillow_heif.from_pillow(images[0])
    for image in images[1:]:
        pictures.add_from_pillow(image)
    pictures.save(file, **options)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    """An image, decoded. HEIC too, which Pillow opens only where another test wants it to."""
    is_heif = data[4:12] == b"ftypheic" or data[4:12] == b"ftypheix"
    image = pillow_heif.HeifImageFile(BytesIO(data)) if is_heif else Image.open(BytesIO(data))
    image.load()
    return image


def notes_of(data: bytes) -> dict[str, str]:
    """The texts of a file's notes, by kind. Its structure must have been walked to its end."""
    image = opened(data)
    if image.format in LOOKS:
        LOOKS[image.format](data, image, Found())  # would raise what `inspected` catches
    notes = inspected(data, image)
    assert all(note.lost for note in notes)
    assert len({note.kind for note in notes}) == len(notes)
    return {note.kind: note.text for note in notes}
