"""The orientation of a photo: reading it, and metadata for a photo that was turned upright.

Once the pixels are turned, no metadata may ask a reader to turn them again. The thumbnail is turned
too, and pairs of width and height are swapped.
"""

from __future__ import annotations

from io import BytesIO

from PIL import Image

from ticodec.notes import Note

from . import exif, xmp
from .exif import Tags

#: How pixels are turned, by the orientation.
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
#: Pairs of tags, across and down: in the directory of the picture, and in that of the camera.
PICTURE_PAIRS = ((0x100, 0x101), (0x11A, 0x11B))
CAMERA_PAIRS = ((0xA002, 0xA003), (0xA20E, 0xA20F))
#: Qualities to try for a thumbnail that was turned, until it fits.
QUALITIES = (95, 90, 85, 75, 60, 40, 20)
#: The most pixels of a thumbnail that is turned; one with more is dropped.
THUMBNAIL_PIXELS = 1 << 20


def of(image: Image.Image, tags: Tags | None, packet: bytes | None) -> int:
    """The orientation of an image's pixels as Pillow gives them, 1 … 8.

    The orientation in the EXIF counts. The one in the XMP counts only if the EXIF has none, as for
    Pillow and for programs of Adobe, Apple and Microsoft. (Browsers look at the EXIF alone.)
    Pillow's plugins turn TIFF and HEIF themselves, and JPEG XL unless there is a whole JPEG in it.
    The plugin for AVIF puts the file's own orientation into the EXIF.

    Args:
        tags: of the EXIF that Pillow gives; packet: the XMP.
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
    """The orientation in the EXIF, 1 … 8; None: it has none."""
    if tags is None:
        return None
    found = tags.number(tags.first, exif.ORIENTATION)
    return found if 1 <= found <= 8 else None


def make_upright(tags: Tags, turn: int, notes: list[Note]) -> None:
    """Remove the orientation from EXIF, and turn what depends on it, all in place.

    Args:
        turn: the orientation of the photo, 1 … 8; also of its thumbnail, unless that has one of
            its own. 1: nothing changes.
        notes: a note on a thumbnail that is lost is added here.

    Raises ValueError when the EXIF is damaged.
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
    """Take the thumbnail and its directory out of EXIF."""
    for start, stop in list(tags.thumbnail_places()):
        inside = tags.data[start:stop]
        tags.data[start:stop] = bytes(len(inside))
    tags.end_with(tags.first)


def _turn_thumbnail(tags: Tags, turn: Image.Transpose) -> bool:
    """Turn the thumbnail, and write it where it was. Returns whether that could be done."""
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
    except Exception:  # Pillow's plugins raise many kinds on damaged files
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
