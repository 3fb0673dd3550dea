"""Reads the metadata of a photo that is kept, and applies its orientation to the pixels.

EXIF, and XMP in any encoding, are kept byte for byte, with three exceptions. The orientation is
removed. A resolution from elsewhere in the file is added to the EXIF. What the photo's owner does
not want is left out.
"""

from __future__ import annotations

import re
from io import BytesIO

from PIL import ExifTags, Image, ImageFile

from ticodec import sections
from ticodec.notes import Note

from .options import Reading
from .tags import exif, location, orientation, resolution, tiff_tags, xmp
from .tags.exif import PREFIX, Tags, tags_of, without_prefix
from .tags.resolution import Resolution

#: The longest EXIF that a JPEG can have, in bytes, with its prefix.
EXIF_MAX = 65533


def upright(
    image: Image.Image, reading: Reading, notes: list[Note]
) -> tuple[Image.Image, dict[str, bytes]]:
    """Apply the orientation of an image, and collect its metadata.

    The orientation is removed from the metadata, so the picture is upright in every viewer.

    Args:
        image: an image of any mode, as it was opened. It is not changed.
        reading: with `strip` only the ICC profile is returned, to convert the colours with.
        notes: gets notes on what is not kept.

    Returns:
        The upright image, and its metadata by section name: "icc", "exif", "xmp". EXIF has the
        prefix "Exif\\0\\0", as in a JPEG. XMP and ICC are as in the file.

    Raises the errors of Pillow if the pixels cannot be decoded.
    """
    image.load()
    block, packet = exif_of(image, [] if reading.strip else notes), xmp_of(image)
    kept = {section.name: image.info.get(section.key) for section in sections.metadata()}
    kept |= {"exif": None, "xmp": None}  # these two are changed below
    metadata = {name: raw for name, raw in kept.items() if isinstance(raw, bytes) and raw}
    turn = orientation_of(image)
    dots = resolution.of_file(image)
    if resolution.is_oblong(image):
        notes.append(Note("dpi", "its pixels are not square, but are treated as square"))
    own = image.info.get("original_orientation")  # of HEIF: pillow-heif has set the EXIF's to 1
    if turn != 1:
        image = image.transpose(orientation.TURNS[turn])
    if reading.strip:
        profile = metadata.get("icc")
        left = {"EXIF": block, "XMP": packet, "ICC profile": profile, "resolution": dots}
        if names := ", ".join(name for name, there in left.items() if there):
            notes.append(Note("stripped", f"left out as asked: {names}", lost=False))
        return image, {"icc": profile} if profile else {}
    block = kept_exif(block, own or turn, dots, notes)
    packet = xmp.upright(packet) if packet else None
    if reading.strip_location:
        block, packet = _without_location(block, packet, notes)
    if block:
        metadata["exif"] = block
    if packet:
        metadata["xmp"] = packet
    return image, metadata


def orientation_of(image: Image.Image) -> int:
    """The orientation of an image's pixels, 1 … 8, see `orientation.of`. Decodes no pixels."""
    block = _exif_in_info(image)
    if block is None and not isinstance(image, ImageFile.ImageFile):
        block = _exif_of_tags(image, [])
    return orientation.of(image, tags_of(block), xmp_of(image))


def kept_exif(
    block: bytes | None, turn: int, dots: Resolution | None, notes: list[Note]
) -> bytes | None:
    """Change EXIF to the form in which it is kept: upright, and with the file's resolution.

    Args:
        block: the EXIF, or None.
        turn: the orientation that was applied to the pixels. It is used if the EXIF has none.
        dots: the resolution that the file has outside of its EXIF.
        notes: gets notes on what is lost.

    Returns:
        The changed EXIF, or None if nothing is left to keep.
    """
    tags = tags_of(block)
    if block and tags is None:
        notes.append(Note("exif", "its EXIF is damaged and is dropped"))
    try:
        if dots and not (tags and resolution.same(resolution.of_exif(tags), dots)):
            tags = _with_resolution(tags, dots, notes)
        if tags is None:
            return None
        found = orientation.of_exif(tags)
        orientation.make_upright(tags, turn if found in (None, 1) else found, notes)
        bare = not tags.entries(tags.first) and tags.thumbnail is None
    except ValueError:
        notes.append(Note("exif", "its EXIF is damaged and is dropped"))
        return None
    return None if bare else tags.tobytes()


def exif_of(image: Image.Image, notes: list[Note]) -> bytes | None:
    """The EXIF of a loaded image, with `PREFIX`, or None if it has none.

    It is exactly as the file has it. For a TIFF file, and for an image that was made in memory, it
    is made from the tags about the photo.

    Args:
        notes: gets notes on tags that cannot be read.
    """
    if image.format == "AVIF" and (block := _avif_exif(image)):
        return PREFIX + without_prefix(block)
    return _exif_in_info(image) or _exif_of_tags(image, notes)


def xmp_of(image: Image.Image) -> bytes | None:
    """The XMP of an image, exactly as its file has it, or None if it has none."""
    # When Pillow turns the pixels of a TIFF file, it removes the orientation from `info["xmp"]`.
    packet: object = getattr(image, "tag_v2", {}).get(700) or image.info.get("xmp")
    packet = packet or image.info.get("XML:com.adobe.xmp") or profile_in_text(image, "xmp")
    if isinstance(packet, str):  # Pillow has decoded the bytes as Latin-1
        return packet.encode("utf-8" if any(ord(one) > 255 for one in packet) else "latin-1")
    return packet if isinstance(packet, bytes) and packet else None


def complete(image: Image.Image, data: bytes) -> None:
    """Put the XMP of a file into the image's `info`, if Pillow's plugin omits or changes it.

    Args:
        data: the file of the image.
    """
    if image.format == "GIF" and (packet := xmp.in_gif(data)):
        image.info["xmp"] = packet
    if image.format == "HEIF" and "xmp" in image.info:
        from pillow_heif import open_heif

        image.info["xmp"] = open_heif(BytesIO(data)).info["xmp"]


def profile_in_text(image: Image.Image, name: str) -> bytes | None:
    """Metadata that ImageMagick has written into a PNG as text with hexadecimal numbers."""
    text = str(image.info.get(f"Raw profile type {name}", ""))
    found = re.fullmatch(r"\s*\w+\s+\d+\s+((?:[\da-fA-F]{2}\s*)+)", text)
    return bytes.fromhex(found[1]) if found else None


def _exif_in_info(image: Image.Image) -> bytes | None:
    """The EXIF that Pillow has read from a file, or that a program has put into an image."""
    block = image.info.get("exif") or profile_in_text(image, "exif")
    if isinstance(block, Image.Exif):
        block = block.tobytes()
    if isinstance(block, bytes) and block:
        return PREFIX + without_prefix(block)
    return None


def _exif_of_tags(image: Image.Image, notes: list[Note]) -> bytes | None:
    """Make EXIF from the tags of a TIFF file, or from those of an image that was made in memory."""
    in_memory = not isinstance(image, ImageFile.ImageFile)
    if "exif" in image.info or not (in_memory or image.format == "TIFF"):
        return None
    try:
        tags, failed = tiff_tags.of_photo(image.getexif())
    except (TypeError, ValueError, SyntaxError, OSError):  # `getexif` also reads the XMP
        return None
    if image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.MakerNote):
        notes.append(Note("exif", "its maker note is moved, and what it points to is lost"))
    if failed:
        numbers = ", ".join(map(str, failed))
        notes.append(Note("exif", f"its tags {numbers} cannot be read and are dropped"))
    return tiff_tags.exif_of(tags) if tags else None


def _avif_exif(image: Image.Image) -> bytes | None:
    """The EXIF of an AVIF file, exactly as the file has it.

    If the file has another orientation than its EXIF, Pillow rewrites the EXIF and loses the
    thumbnail.
    """
    decoder = getattr(image, "_decoder", None)
    return None if decoder is None else decoder.get_info()[4]


def _with_resolution(tags: Tags | None, dots: Resolution, notes: list[Note]) -> Tags | None:
    """Add a resolution to EXIF. If it would be too long for a JPEG, add a note instead."""
    block = (tags or exif.empty()).tobytes()
    changed = Tags(block)
    resolution.put(changed, dots)
    if len(block) <= EXIF_MAX < len(changed.tobytes()):
        text = f"its resolution, {dots[0]:g} dpi, does not fit into its EXIF and is dropped"
        notes.append(Note("dpi", text))
        return tags
    return changed


def _without_location(
    block: bytes | None, packet: bytes | None, notes: list[Note]
) -> tuple[bytes | None, bytes | None]:
    """Remove the place where the photo was taken from EXIF and XMP."""
    gone = []
    if block:
        try:
            tags = Tags(block)
            gone = location.leave_out(tags)
            block = tags.tobytes() if tags.entries(tags.first) or tags.thumbnail else None
        except ValueError:
            text = "its EXIF is dropped: it is damaged and may contain the location"
            notes.append(Note("exif", text))
            block = None
    if packet:
        try:
            less = location.without(packet)
            gone += [location.PLACE] * (less != packet)
            packet = less
        except ValueError:
            text = "its XMP is dropped: it cannot be read and may contain the location"
            notes.append(Note("xmp", text))
            packet = None
    if names := ", ".join(dict.fromkeys(gone)):
        notes.append(Note("stripped", f"left out as asked: {names}", lost=False))
    return block, packet
