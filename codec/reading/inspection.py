"""What an image file has beside the one picture that is kept, found in its own structure."""

from __future__ import annotations

from PIL import Image

from ticodec.notes import Note


def inspected(data: bytes, image: Image.Image) -> list[Note]:
    """A note for everything in the file that its picture does not have.

    Args:
        data: the whole file. image: as Pillow has opened and loaded it.
    """
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        return [Note("frames", f"{frames - 1} further frames or pages are dropped")]
    return []
