"""The metadata of a photo that is kept, and its orientation, which is applied to the pixels."""

from __future__ import annotations

from PIL import Image, ImageOps

from ticodec import sections
from ticodec.notes import Note

from .options import Reading


def upright(
    image: Image.Image, reading: Reading, notes: list[Note]
) -> tuple[Image.Image, dict[str, bytes]]:
    """The image with its orientation applied, and its metadata by section name.

    The orientation is removed from the metadata, so the picture is upright in every viewer.

    Args:
        notes: what is not kept is added here.
    """
    metadata = {section.name: image.info.get(section.key) for section in sections.metadata()}
    try:
        turned = ImageOps.exif_transpose(image)
        exif = turned.getexif()
        metadata["exif"] = exif.tobytes() if len(exif) else None
        image = turned
    except Exception:  # damaged EXIF raises many kinds, and is no reason to lose the photo
        metadata["exif"] = None
    return image, {name: v for name, v in metadata.items() if isinstance(v, bytes) and v}
