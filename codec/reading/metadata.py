"""The metadata of a photo that is kept, and its orientation, which is applied to the pixels.

EXIF is kept byte for byte, as is XMP of any encoding, except what has to change: the orientation
that was applied, a resolution that the file had elsewhere, what the photo's owner wants left out.
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

#: The most EXIF that a JPEG can have, in bytes, with its prefix.
EXIF_MAX = 65533


def upright(
    image: Image.Image, reading: Reading, notes: list[Note]
) -> tuple[Image.Image, dict[str, bytes]]:
    """The image with its orientation applied; its metadata by section name: "icc", "exif", "xmp".

    The orientation is removed from the metadata, so the picture is upright in every viewer.
    EXIF is as in a JPEG, with the prefix "Exif\\0\\0"; XMP and ICC are as their file has them.

    Args:
        image: of any mode, as opened; it is not changed.
        reading: with `strip` only the ICC profile is left, for the colours' conversion.
        notes: a note on what is not kept is added here.

    Raises what Pillow raises where the pixels cannot be decoded.
    """
    image.load()
    block, packet = exif_of(image, [] if reading.strip else notes), xmp_of(image)
    kept = {section.name: image.info.get(section.key) for section in sections.metadata()}
    kept |= {"exif": None, "xmp": None}  # these two are changed below
    metadata = {name: raw for name, raw in kept.items() if isinstance(raw, bytes) and raw}
    turn = orientation_of(image)
    dots = resolution.of_file(image)
    if resolution.is_oblong(image):
        notes.append(Note("dpi", "its pixels are taken as square, and are not meant to be"))
    own = image.info.get("original_orientation")  # of HEIF, whose EXIF says 1 by now
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
    """The orientation of an image's pixels, 1 … 8; see `orientation.of`. Decodes none."""
    block = _exif_in_info(image)
    if block is None and not isinstance(image, ImageFile.ImageFile):
        block = _exif_of_tags(image, [])
    return orientation.of(image, tags_of(block), xmp_of(image))


def kept_exif(
    block: bytes | None, turn: int, dots: Resolution | None, notes: list[Note]
) -> bytes | None:
    """EXIF as it is kept: upright, with the file's resolution; None: nothing.

    Args:
        turn: the orientation that was applied, if the EXIF has none of its own.
        dots: the resolution that the file has outside of its EXIF.
        notes: a note on what is lost is added here.
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
    """The EXIF of a loaded image, with `PREFIX`; None: it has none.

    It is as its file has it. For a TIFF file, and for an image that was made in memory, it is made
    of their tags about the photo.

    Args:
        notes: a note on tags that cannot be read is added here.
    """
    if image.format == "AVIF" and (block := _avif_exif(image)):
        return PREFIX + without_prefix(block)
    return _exif_in_info(image) or _exif_of_tags(image, notes)


def xmp_of(image: Image.Image) -> bytes | None:
    """The XMP of an image as its file has it; None: it has none."""
    # Pillow takes the orientation out of the XMP of a TIFF file when it turns its pixels.
    packet: object = getattr(image, "tag_v2", {}).get(700) or image.info.get("xmp")
    packet = packet or image.info.get("XML:com.adobe.xmp") or profile_in_text(image, "xmp")
    if isinstance(packet, str):  # of bytes that Pillow took for Latin-1
        return packet.encode("utf-8" if any(ord(one) > 255 for one in packet) else "latin-1")
    return packet if isinstance(packet, bytes) and packet else None


def complete(image: Image.Image, data: bytes) -> None:
    """Put the XMP of a file into the image's `info`, where Pillow's plugins omit or change it.

    Args:
        data: the image's file.
    """
    if image.format == "GIF" and (packet := xmp.in_gif(data)):
        image.info["xmp"] = packet
    if image.format == "HEIF" and "xmp" in image.info:
        from pillow_heif import open_heif

        image.info["xmp"] = open_heif(BytesIO(data)).info["xmp"]


def profile_in_text(image: Image.Image, name: str) -> bytes | None:
    """A block that ImageMagick has written into a PNG as text, as hexadecimal numbers."""
    text = str(image.info.get(f"Raw profile type {name}", ""))
    found = re.fullmatch(r"\s*\w+\s+\d+\s+((?:[\da-fA-F]{2}\s*)+)", text)
    return bytes.fromhex(found[1]) if found else None


def _exif_in_info(image: Image.Image) -> bytes | None:
    """The EXIF that Pillow has read from a file, or that somebody has given to an image."""
    block = image.info.get("exif") or profile_in_text(image, "exif")
    if isinstance(block, Image.Exif):
        block = block.tobytes()
    if isinstance(block, bytes) and block:
        return PREFIX + without_prefix(block)
    return None


def _exif_of_tags(image: Image.Image, notes: list[Note]) -> bytes | None:
    """EXIF made of the tags of a TIFF file, or of those of an image that was made in memory."""
    in_memory = not isinstance(image, ImageFile.ImageFile)
    if "exif" in image.info or not (in_memory or image.format == "TIFF"):
        return None
    try:
        tags, failed = tiff_tags.of_photo(image.getexif())
    except (TypeError, ValueError, SyntaxError, OSError):  # it also looks into the XMP
        return None
    if image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.MakerNote):
        notes.append(Note("exif", "its maker note is moved, and what it points to is lost"))
    if failed:
        numbers = ", ".join(map(str, failed))
        notes.append(Note("exif", f"its tags {numbers} cannot be read and are dropped"))
    return tiff_tags.exif_of(tags) if tags else None


def _avif_exif(image: Image.Image) -> bytes | None:
    """The EXIF as an AVIF file has it.

    Pillow writes it anew when the file has another orientation, and loses the thumbnail then.
    """
    decoder = getattr(image, "_decoder", None)
    return None if decoder is None else decoder.get_info()[4]


def _with_resolution(tags: Tags | None, dots: Resolution, notes: list[Note]) -> Tags | None:
    """EXIF with this resolution; unchanged, with a note, if it would be too long for a JPEG."""
    block = (tags or exif.empty()).tobytes()
    changed = Tags(block)
    resolution.put(changed, dots)
    if len(block) <= EXIF_MAX < len(changed.tobytes()):
        text = f"its resolution, {dots[0]:g} dpi, has no room in its EXIF and is dropped"
        notes.append(Note("dpi", text))
        return tags
    return changed


def _without_location(
    block: bytes | None, packet: bytes | None, notes: list[Note]
) -> tuple[bytes | None, bytes | None]:
    """EXIF and XMP without the place where the photo was taken."""
    gone = []
    if block:
        try:
            tags = Tags(block)
            gone = location.leave_out(tags)
            block = tags.tobytes() if tags.entries(tags.first) or tags.thumbnail else None
        except ValueError:
            notes.append(Note("exif", "its EXIF is dropped: it is damaged and may say the place"))
            block = None
    if packet:
        try:
            less = location.without(packet)
            gone += [location.PLACE] * (less != packet)
            packet = less
        except ValueError:
            text = "its XMP is dropped: it cannot be read and may say the place"
            notes.append(Note("xmp", text))
            packet = None
    if names := ", ".join(dict.fromkeys(gone)):
        notes.append(Note("stripped", f"left out as asked: {names}", lost=False))
    return block, packet
