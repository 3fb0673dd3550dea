"""Reads the orientation of a photo, and changes metadata for a photo that was turned upright.

After the pixels were turned, no metadata may ask a reader to turn them again. The thumbnail is
turned too, and pairs of width and height are swapped.
"""

from __future__ import annotations

from io import BytesIO

from PIL import Image

from ticodec.notes import Note

from . import exif, xmp
from .exif import Tags

#: How pixels are turned for each orientation.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
#: Orientations that swap width and height.
QUARTER_TURNS = (5, 6, 7, 8)
#: Pairs of tags for the horizontal and the vertical direction, in the directories of the picture
#: and of the camera.
PICTURE_PAIRS = ((0x100, 0x101), (0x11A, 0x11B))
CAMERA_PAIRS = ((0xA002, 0xA003), (0xA20E, 0xA20F))
#: The JPEG qualities to try for a turned thumbnail, until it fits into its old place.
QUALITIES = (95, 90, 85, 75, 60, 40, 20)
#: A thumbnail with more pixels than this is not turned, but dropped.
THUMBNAIL_PIXELS = 1 << 20


def of(image: Image.Image, tags: Tags | None, packet: bytes | None) -> int:
    """The orientation of an image's pixels as Pillow returns them, 1 … 8.

    The orientation in the EXIF counts. The one in the XMP counts only if the EXIF has none, as in
    Pillow and in programs of Adobe, Apple and Microsoft. (Browsers use the EXIF only.)

    Pillow's plugins for TIFF and HEIF turn the pixels themselves. So does the one for JPEG XL,
    unless the file contains a whole JPEG. The plugin for AVIF puts the file's own orientation into
    the EXIF.

    Args:
        image: the image as opened by Pillow.
        tags: the tags of the EXIF that Pillow returns.
        packet: the XMP.
    """
    if image.format in ("TIFF", "HEIF"):
        return 1
    if image.format == "JXL" and not getattr(image, "jpeg", False):
        return 1
    found = of_exif(tags)
    if found is None and packet is not None and image.format != "AVIF":
        found = xmp.orientation(packet)
    return found or 1


def of_exif(tags: Tags | None) -> int | None:
    """The orientation in the EXIF, 1 … 8, or None if it has none."""
    if tags is None:
        return None
    found = tags.number(tags.first, exif.ORIENTATION)
    return found if 1 <= found <= 8 else None


def make_upright(tags: Tags, turn: int, notes: list[Note]) -> None:
    """Remove the orientation from EXIF, and turn everything that depends on it, in place.

    Args:
        tags: the EXIF to change.
        turn: the orientation of the photo, 1 … 8. It applies to the thumbnail too, unless the
            thumbnail has its own. With 1, nothing changes.
        notes: gets a note if the thumbnail is lost.

    Raises ValueError if the EXIF is damaged.
    """
    if turn not in TURNS:
        return
    if turn in QUARTER_TURNS:
        for pairs, directory in ((PICTURE_PAIRS, tags.first), (CAMERA_PAIRS, tags.camera)):
            for pair in pairs:
                tags.swap(directory, *pair)
    second = tags.thumbnail
    if second is not None:
        own = tags.number(second, exif.ORIENTATION, turn)
        there = bool(list(tags.thumbnail_places()))
        if there and own in TURNS and not _turn_thumbnail(tags, TURNS[own]):
            drop_thumbnail(tags)
            notes.append(Note("thumbnail", "its thumbnail cannot be turned and is dropped"))
        else:
            if own in QUARTER_TURNS:
                for pair in PICTURE_PAIRS:
                    tags.swap(second, *pair)
            tags.remove(second, exif.ORIENTATION)
    tags.remove(tags.first, exif.ORIENTATION)


def drop_thumbnail(tags: Tags) -> None:
    """Remove the thumbnail and its directory from EXIF."""
    for start, stop in list(tags.thumbnail_places()):
        inside = tags.data[start:stop]
        tags.data[start:stop] = bytes(len(inside))
    tags.end_with(tags.first)


def _turn_thumbnail(tags: Tags, turn: Image.Transpose) -> bool:
    """Turn the thumbnail, and write it to its old place. Returns whether that was possible."""
    start = tags.number(tags.thumbnail, exif.THUMBNAIL)
    length = tags.entry(tags.thumbnail, exif.THUMBNAIL_LENGTH)
    room = tags.number(tags.thumbnail, exif.THUMBNAIL_LENGTH)
    if length is None or start < 8 or start + room > len(tags.data):
        return False
    try:
        thumbnail = Image.open(BytesIO(tags.data[start : start + room]), formats=["JPEG"])
        if thumbnail.width * thumbnail.height > THUMBNAIL_PIXELS:
            return False
        turned = thumbnail.transpose(turn)
    except Exception:  # Pillow's plugins raise many kinds of errors for damaged files
        return False
    for quality in QUALITIES:
        out = BytesIO()
        turned.save(out, "JPEG", quality=quality, optimize=True)
        jpeg = out.getvalue()
        if len(jpeg) <= room:
            tags.data[start : start + room] = jpeg.ljust(room, b"\0")
            tags.set_number(length, len(jpeg))
            return True
    return False
