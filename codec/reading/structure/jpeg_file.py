"""Finds what a JPEG has besides its picture: in its segments, and after its end."""

from __future__ import annotations

import re

from PIL import Image

from . import photoshop
from .behind import look_behind
from .found import Found
from .jpeg_segments import COMMENT, END, Segment, segments
from .steps import number
from .tiff_directories import Directories

XMP = b"http://ns.adobe.com/xap/1.0/\0"
EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
PHOTOSHOP = b"Photoshop 3.0\0"
#: The first bytes of segments that need no note, because they are kept or contain nothing, by
#: marker. XMP is handled separately.
KEPT = {
    0xE0: (b"JFIF\0",),
    0xE1: (b"Exif\0\0",),
    0xE2: (b"ICC_PROFILE\0", b"MPF\0"),
    0xEE: (b"Adobe",),
}
#: In the XMP, Google's programs list what follows the picture. This matches what each part is.
MEANING = re.compile(rb"Item:Semantic(?:\s{0,9}=\s{0,9}[\"']|>)(\w{1,40})")


def look(data: bytes, image: Image.Image, found: Found) -> None:
    """Find what a JPEG has besides its picture. Raises TooManySteps."""
    xmp: list[bytes] = []
    resources: list[bytes] = []
    pictures: dict[int, str] | None = None
    profile = False
    for segment in segments(data):
        head = data[segment.start : segment.start + 40]
        if segment.marker == END:
            meanings = [m.decode() for m in MEANING.findall(xmp[0])[1:]] if xmp else []
            look_behind(data, segment.end, found, pictures, meanings)
        elif segment.marker == 0xE1 and head.startswith(XMP):
            xmp.append(data[segment.start : segment.end])
        elif segment.marker == 0xED and head.startswith(PHOTOSHOP):
            resources.append(data[segment.start + len(PHOTOSHOP) : segment.end])
        elif segment.marker == 0xE2 and pictures is None and head.startswith(b"MPF\0"):
            pictures = _listed(data, segment.start + 4)
        elif segment.marker == COMMENT or 0xE0 <= segment.marker < 0xF0:
            profile |= head.startswith(b"ICC_PROFILE\0")
            _look_at(segment, head, found)
    if resources:
        joined = b"".join(resources)
        photoshop.look(joined, 0, len(joined), found)
        if "iptc" not in found and "photoshop" not in found:
            found.add("photoshop", "empty")
    if len(xmp) > 1:
        found.add("xmp", "a second packet")
    if xmp and b"GDepth:" in xmp[0] and "xmp" in found:
        found.add("depth-map")
    if profile and not image.info.get("icc_profile"):
        found.add("colour")


def _look_at(segment: Segment, head: bytes, found: Found) -> None:
    """Find what a comment or an application's segment contains, by its first bytes."""
    if segment.marker == COMMENT:
        if segment.end > segment.start:
            found.add("text", "a comment")
    elif head.startswith(KEPT.get(segment.marker, ())) and not segment.behind_scan:
        if head.startswith(b"JFIF\0") and all(head[12:14]) and len(head) > 14:
            found.add("thumbnail")
    elif head.startswith(b"JFXX\0"):
        found.add("thumbnail")
    elif head.startswith(EXTENDED_XMP):
        found.add("xmp", "its extended part")
    elif head.startswith(b"urn:iso:std:iso:ts:21496:-1\0"):
        found.add("gain-map")
    elif segment.marker == 0xEB and head.startswith(b"JP\0") and not head[12:16].isupper():
        found.add("credentials")  # a name in capitals would be a box of JPEG XT
    elif segment.end > segment.start:
        name = re.match(rb"[ -~]{2,20}", head)
        label = f"APP{segment.marker - 0xE0}"
        found.add("metadata", f"{label} ({name[0].decode()})" if name else label)


def _listed(data: bytes, base: int) -> dict[int, str]:
    """The offsets of further pictures in the list (MPF) at `base`, and their kinds of notes."""
    directories = Directories(data, base)
    entries, _ = directories.at(directories.first)
    listed = {}
    for at in directories.places(entries.get(0xB002), 16):
        kind = number(data, at, 4, directories.order) & 0xFF0000
        offset = number(data, at + 8, 4, directories.order)
        if offset:
            listed[base + offset] = "thumbnail" if kind == 0x010000 else ""
    return listed
