"""Makes EXIF from the tags of a TIFF file, except those that say how pixels are stored."""

from __future__ import annotations

from typing import Any

from PIL import ExifTags, Image

from . import resolution

#: Tags that are not copied. Most describe how the TIFF file stores pixels and colours. XMP (700)
#: and the ICC profile (34675) are read elsewhere. 34377 and 37724 are Photoshop's.
STRUCTURE = {*range(254, 260), 262, 266, 273, *range(277, 282), 284, *range(290, 294), 297, 301}
STRUCTURE |= {317, 318, 319, *range(320, 329), 330, *range(332, 342), 347, *range(512, 522)}
STRUCTURE |= {529, 530, 531, 532, 700, *range(32995, 32999), 34377, 34675, 37724}
#: The tag of a description, and the beginnings of descriptions by tifffile and ImageJ. Theirs are
#: about the samples, not about the photo.
DESCRIPTION, OF_SAMPLES = 270, ('{"shape":', "ImageJ=")
#: The tag of IPTC data. It should be bytes, but some programs write numbers.
IPTC = 33723
#: The tags that point to other blocks of tags: EXIF and GPS.
BLOCKS = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)


def of_photo(tags: Image.Exif) -> tuple[dict[int, Any], list[int]]:
    """Collect the tags about the photo.

    Returns:
        The values by the tag's number, and the numbers of the tags that Pillow cannot copy. Text
        that is not ASCII is returned as bytes, and the blocks of `BLOCKS` as dictionaries.
    """
    copy: dict[int, Any] = {}
    failed = []
    for tag in sorted(set(tags) - STRUCTURE - set(BLOCKS)):
        try:
            copy[tag] = _bytes(tags[tag])
            if tag == IPTC and not isinstance(copy[tag], bytes):
                raise ValueError("Pillow reads only the first of the numbers")
            exif_of({tag: copy[tag]})
        except Exception:  # damaged tags raise many kinds of errors
            copy.pop(tag, None)
            failed.append(tag)
    if copy.get(resolution.UNIT, resolution.INCH) not in resolution.UNITS:
        for tag in (resolution.ACROSS, resolution.DOWN, resolution.UNIT):
            copy.pop(tag, None)
    if str(copy.get(DESCRIPTION)).startswith(OF_SAMPLES):
        del copy[DESCRIPTION]
    for block in BLOCKS:
        entries, bad = _entries(tags, block)
        failed += bad
        if entries:
            copy[block] = entries
    return copy, failed


def exif_of(tags: dict[int, Any]) -> bytes:
    """Make EXIF from tags as `of_photo` returns them.

    Raises many kinds of errors if Pillow cannot write them.
    """
    block = Image.Exif()
    for tag, value in tags.items():
        block[tag] = value
    return block.tobytes()


def _entries(tags: Image.Exif, block: int) -> tuple[dict[int, Any], list[int]]:
    """The tags of a block, and the numbers of the tags that cannot be copied."""
    try:
        found = dict(tags.get_ifd(block))
        if ExifTags.IFD.Interop in found:
            found[ExifTags.IFD.Interop] = dict(tags.get_ifd(ExifTags.IFD.Interop))
    except Exception:  # as above
        return {}, [block]
    entries: dict[int, Any] = {}
    failed = []
    for tag, value in found.items():
        try:
            entries[tag] = _bytes(value)
            exif_of({block: {tag: entries[tag]}})
        except Exception:  # as above
            entries.pop(tag, None)
            failed.append(tag)
    return entries, failed


def _bytes(value: object) -> object:
    """Convert text that is not ASCII back to the bytes that it was read from.

    Otherwise Pillow would write "?" for such characters.
    """
    if isinstance(value, str) and not value.isascii():
        return value.encode("latin-1", "replace")
    return value
