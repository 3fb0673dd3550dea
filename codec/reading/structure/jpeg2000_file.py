"""Finds what a JPEG 2000 file has besides its picture: in its boxes and in its pixels' header."""

from __future__ import annotations

from PIL import Image

from .behind import look_behind
from .boxes import CREDENTIALS, Boxes
from .found import Found
from .steps import number

#: Boxes that need no note: they are part of the picture, or empty.
KNOWN = {b"jP  ", b"ftyp", b"jp2h", b"jp2c", b"free", b"rreq"}
#: The kinds of notes for "uuid" boxes, by the identifier that a box begins with.
UUIDS = {
    bytes.fromhex("be7acfcb97a942e89c71999491e3afac"): "xmp",
    b"JpgTiffExif->JP2": "exif",
    bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"): "iptc",
    CREDENTIALS: "credentials",
}
MOST_SEGMENTS = 1_000


def look(data: bytes, image: Image.Image, found: Found) -> None:
    """Find what a JPEG 2000 file has besides its picture. Raises TooManySteps."""
    if data.startswith(b"\xff\x4f"):  # a codestream without boxes
        _look_at_pixels(data, 0, image, found)
        return
    boxes = Boxes(data)
    end = pictures = 0
    for box in boxes.within(0, len(data)):
        end = box.end
        if box.name == b"jp2c":
            pictures += 1
            if pictures == 1:
                _look_at_pixels(data, box.start, image, found)
        elif box.name == b"uuid":
            kind = UUIDS.get(data[box.start : box.start + 16], "metadata")
            found.add(kind, "uuid" if kind == "metadata" else "")
        elif box.name == b"jumb":
            found.add("credentials")
        elif box.name not in KNOWN:
            found.add("metadata", box.name.decode("latin-1").strip())
    found.add("frames", "picture", pictures - 1)
    if not boxes.is_cut(end, KNOWN):
        look_behind(data, end, found)


def _look_at_pixels(data: bytes, at: int, image: Image.Image, found: Found) -> None:
    """Find what the header of the pixels contains: bits, channels, comments."""
    components = number(data, at + 40, 2)
    sizes = data[at + 42 : at + 42 + 3 * min(components, 100) : 3]
    bits = max(((size & 0x7F) + 1 for size in sizes), default=8)
    if bits > 8:
        found.add("bits", str(bits))
    found.add("channels", count=components - max(3 * (components > 2), len(image.getbands())))
    at += 2
    for _ in range(MOST_SEGMENTS):
        marker = data[at : at + 2]
        if marker == b"\xff\x64" and not _by_encoder(data[at + 6 : at + 60]):
            found.add("text", "a comment")
        if not b"\xff\x51" <= marker <= b"\xff\x64":
            break
        at += 2 + max(number(data, at + 2, 2), 2)


def _by_encoder(comment: bytes) -> bool:
    """Whether a comment was written by an encoder and not by a person."""
    return comment.startswith((b"Created by OpenJPEG", b"Kakadu-", b"Kdu-"))
