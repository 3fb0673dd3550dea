"""Removes the place where a photo was taken from EXIF and XMP.

Everything that contains the place is removed, and everything that may contain it. Maker notes are
removed, because those of Apple and DJI contain it. What people wrote stays, even if it names a
place: title, caption, keywords, comments. Viewing directions stay too, except those in GPS tags.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.parsers import expat

from . import exif, xmp
from .exif import Tags

PLACE, OTHERS = "the location", "other blocks of metadata in the EXIF"
#: The tags that are removed from EXIF, and their names in notes. The first ones contain a place:
#: GPS, GeoTIFF and GDAL. The others may contain one: unknown directories, XMP, Photoshop's data,
#: and copies of maker notes.
TAGS = dict.fromkeys((exif.GPS, 33550, 33922, 34264, 34735, 34736, 34737, 42112), PLACE)
TAGS |= dict.fromkeys((330, 700, 34377, 50740), OTHERS)
TAGS |= {
    exif.MAKER_NOTE: "the maker note (it may contain the location)",
    33723: "IPTC (it may contain the location)",
}
#: The first bytes of metadata in a thumbnail.
NAMES_IN_THUMBNAIL = (exif.PREFIX, b"http://ns.adobe.com/", b"Photoshop 3.0")

EXIF = "http://ns.adobe.com/exif/1.0/"
DUBLIN_CORE = "http://purl.org/dc/elements/1.1/"
PHOTOSHOP = "http://ns.adobe.com/photoshop/1.0/"
IPTC = "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"
IPTC_EXTENDED = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
#: A namespace that has only places.
GEO = "http://www.w3.org/2003/01/geo/wgs84_pos#"
#: If a name has one of these words, it means a place, in any namespace. DJI writes "Longtitude".
WORDS = ("gps", "latitude", "longitude", "longtitude", "altitude", "location")
#: Pairs of a namespace and a name that means a place in it.
NAMES = {(DUBLIN_CORE, "coverage")}
NAMES |= {(PHOTOSHOP, name) for name in ("City", "State", "Country")}
NAMES |= {(space, "CountryCode") for space in (IPTC, IPTC_EXTENDED)}
NAMES |= {
    (IPTC_EXTENDED, name)
    for name in ("City", "CountryName", "ProvinceState", "Sublocation", "WorldRegion")
}
#: This property has the word "location", but says where the subject is in the picture.
NO_PLACE = (EXIF, "SubjectLocation")

START_TAG = re.compile(rb"""<[^\s/>]+(?:\s+[^\s=>/]+\s*=\s*(?:"[^"]*"|'[^']*'))*\s*/?>""")
ATTRIBUTE = re.compile(rb"""(?<=\S)\s+([^\s=>/]+)\s*=\s*(?:"[^"]*"|'[^']*')""")


def leave_out(tags: Tags) -> list[str]:
    """Remove the place from EXIF, and fill all bytes that belong to no tag with zeros.

    Returns what was removed, in words. Raises ValueError if the EXIF is damaged.
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
    """Remove the properties that contain a place from XMP. All others stay byte for byte.

    Raises ValueError if the XMP cannot be parsed.
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
        raise ValueError("the XMP still contains a place")
    return (whole.decode() + behind).encode(encoding)


def _is_place(name: str) -> bool:
    """Whether the name of a property, "namespace name", means a place."""
    space, _, local = name.rpartition(" ")
    if (space, local) == NO_PLACE:
        return False
    known = space == GEO or (space, local) in NAMES
    return known or any(word in local.lower() for word in WORDS)


@dataclass
class _Finder:
    """Finds the elements and attributes to cut, while expat parses the XMP.

    Args:
        data: the XMP in UTF-8.
        parser: the parser that calls `begin` and `end`.
        cuts: the ranges [start, stop) to cut.
        depth: how many open elements are to be cut. They are nested in each other. 0 if the parser
            is not inside an element to cut.
        start: where the outermost of these elements begins.
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
        # Expat reports the attributes in their order, without the declarations of namespaces.
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
        """Where to search for the end of an element: its end tag, or the end of its only tag."""
        if self.data.startswith(b"</", at):
            return at
        tag = START_TAG.match(self.data, self.start)
        if tag is None:
            raise ValueError("the XMP has a tag that cannot be read")
        return tag.end() - 1


def _cuts(data: bytes) -> list[tuple[int, int]]:
    """The ranges [start, stop) to cut out of XMP in UTF-8, in order.

    Raises ValueError if the XMP cannot be parsed.
    """
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
