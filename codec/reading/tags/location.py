"""EXIF and XMP without the place where a photo was taken.

Everything that says the place is taken out, and everything that may say it, such as maker notes:
those of Apple and DJI do. What people wrote stays, whatever it says: title, caption, keywords,
comments. Directions of view stay too, except those among GPS tags.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.parsers import expat

from . import exif, xmp
from .exif import Tags

PLACE, OTHERS = "the place", "other blocks of metadata in the EXIF"
#: Tags that are taken out of EXIF, and what they are, for a note. First those that say a place:
#: GPS, GeoTIFF and GDAL. Then those that may: directories that are not known here, XMP, Photoshop's
#: data, copies of maker notes.
TAGS = dict.fromkeys((exif.GPS, 33550, 33922, 34264, 34735, 34736, 34737, 42112), PLACE)
TAGS |= dict.fromkeys((330, 700, 34377, 50740), OTHERS)
TAGS |= {
    exif.MAKER_NOTE: "the maker note (it may say the place)",
    33723: "IPTC (it may say the place)",
}
#: Names that begin metadata in a thumbnail.
NAMES_IN_THUMBNAIL = (exif.PREFIX, b"http://ns.adobe.com/", b"Photoshop 3.0")

EXIF = "http://ns.adobe.com/exif/1.0/"
DUBLIN_CORE = "http://purl.org/dc/elements/1.1/"
PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
IPTC = "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"
IPTC_EXTENDED = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
#: A namespace of nothing but places.
GEO = "http://www.w3.org/2003/01/geo/wgs84_pos#"
#: Parts of names that mean a place in any namespace: of `exif`, of drones, of others.
#: DJI writes "Longtitude".
WORDS = ("gps", "latitude", "longitude", "longtitude", "altitude", "location")
#: Names that mean a place in these namespaces.
NAMES = {(DUBLIN_CORE, "coverage")}
NAMES |= {(PHOTOSHOP, name) for name in ("City", "State", "Country")}
NAMES |= {(space, "CountryCode") for space in (IPTC, IPTC_EXTENDED)}
NAMES |= {
    (IPTC_EXTENDED, name)
    for name in ("City", "CountryName", "ProvinceState", "Sublocation", "WorldRegion")
}
#: Where in the picture its subject is.
NO_PLACE = (EXIF, "SubjectLocation")

START_TAG = re.compile(rb"""<[^\s/>]+(?:\s+[^\s=>/]+\s*=\s*(?:"[^"]*"|'[^']*'))*\s*/?>""")
ATTRIBUTE = re.compile(rb"""(?<=\S)\s+([^\s=>/]+)\s*=\s*(?:"[^"]*"|'[^']*')""")


def leave_out(tags: Tags) -> list[str]:
    """Take the place out of EXIF, and make zeros of all bytes that belong to no tag.

    Returns what was taken out, in words. Raises ValueError when the EXIF is damaged.
    """
    gone = []
    for directory in filter(None, (tags.first, tags.camera, tags.thumbnail)):
        found = {entry.tag for entry in tags.entries(directory)}
        for tag in TAGS:
            if tag in found:
                tags.remove(directory, tag)
                gone.append(TAGS[tag])
    thumbnail = b"".join(bytes(tags.data[start:stop]) for start, stop in tags.thumbnail_places())
    if any(name in thumbnail for name in NAMES_IN_THUMBNAIL):
        tags.end_with(tags.first)
        gone.append("the thumbnail (it has metadata of its own)")
    tags.wipe_unused()
    return list(dict.fromkeys(gone))


def without(packet: bytes) -> bytes:
    """XMP without properties that say a place; all others stay byte for byte.

    Raises ValueError when it cannot be parsed.
    """
    text, encoding = xmp.decoded(packet)
    behind = text[len(text.rstrip("\0")) :]
    whole = text.removesuffix(behind).encode()
    cuts = _cuts(whole)
    if not cuts:
        return packet
    for start, stop in reversed(cuts):
        whole = whole[:start] + whole[stop:]
    if _cuts(whole):
        raise ValueError("the XMP still says a place")
    return (whole.decode() + behind).encode(encoding)


def _is_place(name: str) -> bool:
    """Whether a property's name, "namespace name", means a place."""
    space, _, local = name.rpartition(" ")
    if (space, local) == NO_PLACE:
        return False
    known = space == GEO or (space, local) in NAMES
    return known or any(word in local.lower() for word in WORDS)


@dataclass
class _Finder:
    """Finds the elements and attributes to cut, while expat goes through the XMP.

    Args:
        data: the XMP in UTF-8. cuts: what was found, as [start, stop).
        depth: how many elements are open, from the outermost one to cut on; 0: none is to be cut.
        start: where that outermost one begins.
    """

    data: bytes
    parser: expat.XMLParserType
    cuts: list[tuple[int, int]]
    depth: int = 0
    start: int = 0

    def begin(self, name: str, attributes: list[str]) -> None:
        at = self.parser.CurrentByteIndex
        if self.depth or _is_place(name):
            self.start = self.start if self.depth else at
            self.depth += 1
            return
        tag = START_TAG.match(self.data, at)
        if tag is None:
            raise ValueError("the XMP has a tag that cannot be read")
        # Expat gives attributes in their order, without declarations of namespaces.
        found = [
            one.span()
            for one in ATTRIBUTE.finditer(self.data, at, tag.end())
            if not re.match(rb"xmlns(:|$)", one[1])
        ]
        for span, attribute in zip(found, attributes[::2], strict=True):
            if _is_place(attribute):
                self.cuts.append(span)

    def end(self, name: str) -> None:
        if not self.depth:
            return
        self.depth -= 1
        if not self.depth:
            at = self.parser.CurrentByteIndex
            self.cuts.append((self.start, self.data.index(b">", self._last_tag(at)) + 1))

    def _last_tag(self, at: int) -> int:
        """Where to look for the end of an element: its end tag, or the end of its only tag."""
        if self.data.startswith(b"</", at):
            return at
        tag = START_TAG.match(self.data, self.start)
        if tag is None:
            raise ValueError("the XMP has a tag that cannot be read")
        return tag.end() - 1


def _cuts(data: bytes) -> list[tuple[int, int]]:
    """What to cut out of XMP in UTF-8, as [start, stop) in order. Raises ValueError."""
    parser = expat.ParserCreate("utf-8", namespace_separator=" ")
    parser.ordered_attributes = True
    finder = _Finder(data, parser, [])

    def refuse(*_: object) -> None:
        raise ValueError("the XMP has a document type")

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = finder.begin
    parser.EndElementHandler = finder.end
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ValueError(f"the XMP cannot be parsed: {error}") from error
    return finder.cuts
