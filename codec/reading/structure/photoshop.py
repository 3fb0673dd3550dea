"""Reads Photoshop's image resources, which are blocks in JPEG, TIFF and PSD files."""

from __future__ import annotations

from .found import Found
from .steps import number, steps

IPTC = 0x0404
#: What resources contain, by number. All others are settings of printing and of the program.
NAMES = {
    0x03E8: "channels",
    0x03ED: "resolution",
    0x0409: "thumbnail",
    0x040A: "copyright flag",
    0x040B: "web address",
    0x040C: "thumbnail",
    0x040F: "ICC profile",
    0x041A: "slices",
    0x0422: "EXIF",
    0x0423: "EXIF",
    0x0424: "XMP",
    0x0425: "digest of the IPTC data",
}
SIGNATURES = (b"8BIM", b"MeSa", b"AgHg", b"PHUT", b"DCSR")
PATHS = range(0x07D0, 0x0BB7)
ICC = 0x040F
MOST_RESOURCES = 10_000


def look(data: bytes, start: int, end: int, found: Found, kept: tuple[int, ...] = ()) -> None:
    """Find IPTC data and everything else in the resources at data[start:end].

    Args:
        kept: the numbers of resources that need no note, because the picture keeps them.
    """
    at = start
    for _ in steps(MOST_RESOURCES):
        if at >= end or data[at : at + 4] not in SIGNATURES:
            break
        code = number(data, at + 4, 2)
        name = number(data, at + 6, 1) + 1
        at += 6 + name + name % 2
        size = number(data, at, 4)
        at += 4 + size + size % 2
        if code == IPTC and size:
            found.add("iptc")
        elif code not in kept:
            path = "clipping path" if code in PATHS else "settings"
            found.add("photoshop", NAMES.get(code, path))
    if at == start < end:
        found.add("photoshop", "damaged")
