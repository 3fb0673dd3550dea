"""Finds what an AVIF or HEIC file has besides its picture: items, image sequences, other boxes."""

from __future__ import annotations

from PIL import Image

from .behind import kind_of_auxiliary, look_behind
from .boxes import CREDENTIALS, Box, Boxes
from .found import Found
from .heif_items import IMAGES, Items
from .steps import number

#: Boxes that need no note: they are part of the picture, are inspected here, or are empty.
KNOWN = {b"ftyp", b"meta", b"mdat", b"moov", b"free", b"skip", b"wide", b"idat"}
#: Items of metadata that need no note: the metadata is kept, or inspected here.
METADATA = {b"Exif", b"application/rdf+xml", b"tmap"}
#: Properties that are not kept, and their names in notes.
PROPERTIES = {
    b"clli": "brightness of its content",
    b"mdcv": "colours of its screen",
    b"amve": "light around its screen",
    b"ndwt": "brightness of white",
    b"cmin": "camera's geometry",
    b"cmex": "camera's position",
    b"crtt": "time of creation",
    b"mdft": "time of change",
}


def look(data: bytes, image: Image.Image, found: Found) -> None:
    """Find what an AVIF or HEIC file has besides its picture. Raises TooManySteps."""
    boxes = Boxes(data)
    end = 0
    for box in boxes.within(0, len(data)):
        end = box.end
        if box.name == b"meta":
            _look_at_items(Items(boxes, box), data, found)
        elif box.name == b"moov":
            _look_at_tracks(boxes, box, image, found)
        elif box.name == b"mpvd":
            found.add("video")
        elif box.name == b"uuid" and data[box.start : box.start + 16] == CREDENTIALS:
            found.add("credentials")
        elif box.name not in KNOWN:
            found.add("metadata", box.name.decode("latin-1"))
    if not boxes.is_cut(end, KNOWN):
        look_behind(data, end, found)


def _look_at_items(items: Items, data: bytes, found: Found) -> None:
    """Find items that do not belong to the picture, and properties that are not kept."""
    tiles = items.related(b"dimg", items.primary)
    bits = max((_bits(data, items, item) for item in [items.primary, *tiles[:1]]), default=8)
    if bits > 8:
        found.add("bits", str(bits))
    for box in items.properties.get(items.primary, []):
        if box.name in PROPERTIES:
            found.add("metadata", PROPERTIES[box.name])
        elif box.name in (b"udes", b"altt"):
            found.add("text", "a description")
    parts = {item for tiles in items.references.get(b"dimg", {}).values() for item in tiles}
    smaller = items.references.get(b"thmb", {})
    of_another = items.references.get(b"auxl", {})
    gain_maps = set()
    for item, kind in items.kinds.items():
        if kind == b"tmap":
            found.add("gain-map")
            gain_maps.update(items.related(b"dimg", item)[1:])
    for item, kind in items.kinds.items():
        if kind in IMAGES and item != items.primary and item not in gain_maps:
            if item in of_another:
                name = _auxiliary_type(data, items, item)
                aux = kind_of_auxiliary(name)
                if aux:
                    found.add(aux, name.rpartition(":")[2] if aux == "auxiliary" else "")
            elif item in smaller:
                found.add("thumbnail")
            elif item not in parts:
                found.add("frames", "picture")
        elif kind not in METADATA | IMAGES:
            found.add("metadata", kind.decode("latin-1").strip())


def _bits(data: bytes, items: Items, item: int) -> int:
    """The bits per channel of an image item, by its properties. 8 if they do not say."""
    bits = 8
    for box in items.properties.get(item, []):
        if box.name == b"pixi":
            bits = max(bits, *data[box.start + 5 : box.start + 9], 0)
        elif box.name == b"av1C":
            flags = number(data, box.start + 2, 1)
            bits = max(bits, (12 if flags & 0x20 else 10) if flags & 0x40 else 8)
        elif box.name == b"hvcC":
            bits = max(bits, 8 + (number(data, box.start + 17, 1) & 7))
    return bits


def _auxiliary_type(data: bytes, items: Items, item: int) -> str:
    """The type of an auxiliary image, as a URN. "" if it has none."""
    for box in items.properties.get(item, []):
        if box.name == b"auxC":
            content = data[box.start + 4 : min(box.end, box.start + 200)]
            return content.partition(b"\0")[0].decode("latin-1")
    return ""


def _look_at_tracks(boxes: Boxes, moov: Box, image: Image.Image, found: Found) -> None:
    """Find the frames of an image sequence. Pillow's picture is the first one, or a still image."""
    frames = 0
    for track in boxes.inside(moov):
        if track.name != b"trak":
            continue
        media = boxes.find(track, b"mdia")
        handler = boxes.find(media, b"hdlr")
        kind = boxes.data[handler.start + 8 : handler.start + 12] if handler else b""
        sizes = boxes.find(media, b"minf", b"stbl", b"stsz")
        if kind in (b"pict", b"vide") and sizes is not None:
            frames = max(frames, number(boxes.data, sizes.start + 8, 4))
        elif kind == b"soun":
            found.add("metadata", "sound")
    found.add("frames", "frame", max(frames, getattr(image, "n_frames", 1)) - 1)
