"""Stripping all metadata, or only the place where a photo was taken."""

from __future__ import annotations

import struct
import time

import piexif
import pytest
from metadata_support import (
    EAST,
    MAKER_NOTE,
    NORTH,
    jpeg_bytes,
    opened,
    read,
    rewritten,
    rich_exif,
    saved,
    upright_photo,
)
from PIL import ImageCms
from PIL.TiffImagePlugin import ImageFileDirectory_v2

import ticodec
from ticodec.reading.options import Reading
from ticodec.reading.tags.exif import Tags
from ticodec.writers import WRITERS

SUFFIXES = [writer.suffixes[0] for writer in WRITERS]
STRIP, NO_PLACE = Reading(strip=True), Reading(strip_location=True)
SPACES = {
    "exif": "http://ns.adobe.com/exif/1.0/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "Iptc4xmpCore": "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/",
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "drone-dji": "http://www.dji.com/drone-dji/1.0/",
    "geo": "http://www.w3.org/2003/01/geo/wgs84_pos#",
    "dc": "http://purl.org/dc/elements/1.1/",
}
PLACES = {
    "exif:GPSLatitude": "48,51.4971N",
    "exif:GPSVersionID": "2.2.0.0",
    "photoshop:City": "Paris",
    "photoshop:State": "Île-de-France",
    "photoshop:Country": "France",
    "Iptc4xmpCore:Location": "Louvre",
    "Iptc4xmpCore:CountryCode": "FRA",
    "drone-dji:GpsLongtitude": "+2.2944",
    "drone-dji:AbsoluteAltitude": "+35.1",
    "geo:long": "2.2945",
    "dc:coverage": "Rive droite",
}
OTHERS = {
    "exif:SubjectLocation": "100 200",
    "exif:ExposureTime": "1/250",
    "photoshop:Headline": "Tower > hill",
    "dc:format": "image/jpeg",
}
#: Structures of which only the names are in the list of properties.
NESTED = """<Iptc4xmpExt:LocationShown><rdf:Bag><rdf:li rdf:parseType="Resource">
<Iptc4xmpExt:City>Parigi</Iptc4xmpExt:City></rdf:li></rdf:Bag></Iptc4xmpExt:LocationShown>
<Iptc4xmpExt:LocationCreated/><dc:creator><rdf:Seq><rdf:li>Ånne</rdf:li></rdf:Seq></dc:creator>"""


def packet(properties: dict[str, str], elements: bool, nested: str = "") -> str:
    """XMP with these properties, as attributes or as elements."""
    spaces = " ".join(f'xmlns:{prefix}="{space}"' for prefix, space in SPACES.items())
    inside = "".join(f"<{n}>{v.replace('>', '&gt;')}</{n}>" for n, v in properties.items())
    attributes = " ".join(f"{name} = '{value}'" for name, value in properties.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {spaces} {"" if elements else attributes}>'
        f"{inside if elements else ''}{nested}<!-- kept --></rdf:Description></rdf:RDF></x:xmpmeta>"
        '<?xpacket end="w"?>   '
    )


def has_place(exif: bytes) -> bool:
    """Whether the numbers of the place are somewhere in these bytes."""
    rare = (NORTH[2][0], EAST[2][0])
    return any(struct.pack(order + "L", one) in exif for one in rare for order in "<>")


def test_strip_leaves_nothing() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    xmp = packet(OTHERS, elements=False).encode()
    data = jpeg_bytes(
        upright_photo(), exif=rich_exif(), xmp=xmp, icc_profile=profile, dpi=(600, 600)
    )
    picture = read(data, STRIP)
    notes = [note for note in picture.notes if note.kind == "stripped"]
    assert [(note.text, note.lost) for note in notes] == [
        ("left out as asked: EXIF, XMP, ICC profile, resolution", False)
    ]
    assert picture.metadata == {}


def test_nothing_to_strip_is_not_noted() -> None:
    for reading in (STRIP, NO_PLACE):
        picture = read(saved(upright_photo(), "PNG"), reading)
        assert (picture.metadata, picture.notes) == ({}, [])


def test_strip_still_turns_the_picture() -> None:
    data = jpeg_bytes(upright_photo(), exif=rich_exif(6))
    assert read(data, STRIP).pixels.shape == read(data).pixels.shape == (72, 48, 3)


def test_the_place_is_removed_from_the_exif() -> None:
    exif = rich_exif()
    assert has_place(exif)
    picture = read(jpeg_bytes(upright_photo(), exif=exif), NO_PLACE)
    kept = picture.metadata["exif"]
    assert [(note.kind, note.text, note.lost) for note in picture.notes] == [
        (
            "stripped",
            "left out as asked: the location, the maker note (it may contain the location)",
            False,
        )
    ]
    assert not has_place(kept)
    assert MAKER_NOTE[:20] not in kept
    parts, before = piexif.load(kept), piexif.load(exif)
    assert parts["GPS"] == {}
    assert parts["thumbnail"] == before["thumbnail"]
    assert parts["Exif"][36867] == before["Exif"][36867]
    assert parts["0th"][315] == before["0th"][315]
    assert parts["Interop"] == before["Interop"]
    assert 37500 not in parts["Exif"]
    assert 34853 not in parts["0th"]
    assert not opened(jpeg_bytes(upright_photo(), exif=kept)).getexif().get_ifd(0x8825)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_decoded_file_has_the_place(suffix: str) -> None:
    xmp = packet(PLACES | OTHERS, elements=True).encode()
    data = jpeg_bytes(upright_photo(), exif=rich_exif(6), xmp=xmp)
    image = rewritten(read(data, NO_PLACE), suffix)
    assert not image.getexif().get_ifd(0x8825)
    assert image.getexif()[271] == "Maker"
    assert b"Paris" not in image.info["xmp"]


def test_bytes_that_belong_to_no_tag_become_zeros() -> None:
    """Programs may leave old directories in the EXIF, which have the place."""
    with_place, without = rich_exif(), rich_exif()
    at = without.index(b"\x88\x25\0\x04")
    stale = bytearray(with_place)
    stale[at : at + 2] = b"\x88\x24"  # another tag, so that no tag points to the place
    assert has_place(bytes(stale))
    picture = read(jpeg_bytes(upright_photo(), exif=bytes(stale)), NO_PLACE)
    assert not has_place(picture.metadata["exif"])
    assert piexif.load(picture.metadata["exif"])["thumbnail"] == piexif.load(without)["thumbnail"]


def test_tags_that_share_their_bytes_are_stripped_quickly() -> None:
    """20,000 tags all claim the whole block."""
    entry = struct.pack("<HHII", 271, 1, 3_000_000, 8)
    block = b"II*\0\x08\0\0\0" + struct.pack("<H", 20_000) + entry * 20_000 + bytes(3_000_000)
    tags = Tags(block)
    started = time.perf_counter()
    tags.wipe_unused()
    assert time.perf_counter() - started < 3
    assert len(tags.data) == len(block)


def test_a_thumbnail_with_its_own_metadata_is_left_out() -> None:
    exif = rich_exif()
    thumbnail = piexif.load(exif)["thumbnail"]
    place = piexif.dump({"GPS": {1: "N", 2: NORTH, 3: "E", 4: EAST}})
    with_place = jpeg_bytes(upright_photo((8, 8)), exif=place).ljust(len(thumbnail), b"\0")
    assert len(with_place) == len(thumbnail)
    exif = exif.replace(thumbnail, with_place)
    picture = read(jpeg_bytes(upright_photo(), exif=exif), NO_PLACE)
    assert not piexif.load(picture.metadata["exif"])["thumbnail"]
    assert not has_place(picture.metadata["exif"])
    assert "the thumbnail" in picture.notes[0].text


def test_the_place_is_removed_from_a_tiff() -> None:
    """Removes GPS, and the places in tags of GeoTIFF, GDAL and IPTC."""
    tags = ImageFileDirectory_v2()
    tags[271] = "Maker"
    tags[0x8825] = {1: "N", 2: tuple(a / b for a, b in NORTH)}
    tags[33922] = (0.0, 0.0, 0.0, 2.5, 48.5, 0.0)
    tags.tagtype[33922] = 12
    tags[42112] = "<GDALMetadata>Paris</GDALMetadata>"
    tags.tagtype[42112] = 2
    tags[33723] = b"\x1c\x02\x5a\x00\x05Paris"
    data = saved(upright_photo(), "TIFF", tiffinfo=tags)
    assert b"Paris" in read(data).metadata["exif"]  # IPTC is a tag like any other
    stripped = read(data, NO_PLACE)
    assert [note.text for note in stripped.notes if note.kind == "stripped"] == [
        "left out as asked: the location, IPTC (it may contain the location)"
    ]
    kept = stripped.metadata["exif"]
    assert b"Paris" not in kept
    assert set(piexif.load(kept)["0th"]) == {271}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("elements", [False, True])
def test_the_place_is_removed_from_the_xmp(elements: bool, encoding: str) -> None:
    xmp = packet(PLACES | OTHERS, elements, NESTED).encode(encoding)
    picture = read(jpeg_bytes(upright_photo(), xmp=xmp), NO_PLACE)
    kept = picture.metadata["xmp"].decode(encoding)
    for name, value in PLACES.items():
        assert name not in kept
        assert value not in kept
    for nothing in ("Parigi", "LocationShown", "LocationCreated"):
        assert nothing not in kept
    rest = NESTED[NESTED.index("\n<Iptc4xmpExt:LocationCreated/>") :]
    rest = rest.replace("<Iptc4xmpExt:LocationCreated/>", "")
    expected = packet(OTHERS, elements, rest)
    assert kept == expected
    assert [note.kind for note in picture.notes] == ["stripped"]


def test_xmp_without_a_place_is_kept_byte_for_byte() -> None:
    xmp = packet(OTHERS, elements=False).encode() + b"\0"
    picture = read(jpeg_bytes(upright_photo(), xmp=xmp), NO_PLACE)
    assert (picture.metadata["xmp"], picture.notes) == (xmp, [])


@pytest.mark.parametrize(
    "xmp",
    [
        b"<x:xmpmeta",
        b"<a>\xff\xfe</b>",
        b"",
        b'<!DOCTYPE x [<!ENTITY place "Paris">]><x>&place;</x>',
        packet(PLACES, elements=True).encode()[:-60],
    ],
)
def test_xmp_that_cannot_be_read_is_left_out_completely(xmp: bytes) -> None:
    picture = read(jpeg_bytes(upright_photo(), xmp=xmp), NO_PLACE)
    assert "xmp" not in picture.metadata
    assert [(note.kind, note.lost) for note in picture.notes] == [("xmp", True)] * bool(xmp)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_exif_that_cannot_be_read_is_left_out_completely() -> None:
    exif = rich_exif()
    damaged = exif[:10] + b"\0\xff\xff\xf0" + exif[14:]
    picture = read(jpeg_bytes(upright_photo(), exif=damaged), NO_PLACE)
    assert "exif" not in picture.metadata
    assert [(note.kind, note.lost) for note in picture.notes] == [("exif", True)]


def test_stripping_the_place_keeps_a_resolution_outside_the_exif() -> None:
    data = jpeg_bytes(upright_photo(), exif=rich_exif(), dpi=(600, 600))
    kept = read(data, NO_PLACE).metadata["exif"]
    assert piexif.load(kept)["0th"][282] == (600, 1)
    assert not has_place(kept)


def test_the_commands_strip_what_is_asked(run, tmp_path) -> None:
    photo = tmp_path / "a" / "photo.jpg"
    photo.parent.mkdir()
    photo.write_bytes(jpeg_bytes(upright_photo(), exif=rich_exif()))
    for option, metadata in (("--strip", False), ("--strip-location", True)):
        tic, folder = tmp_path / f"x{option}.tic", tmp_path / f"x{option}"
        done = run("encode", photo, tic, "-m", "tiny", option)
        assert done.code == 0
        assert "left out as asked: " in done.err
        assert run("batch", "encode", photo.parent, folder, "-m", "tiny", option).code == 0
        for written in (tic, folder / "photo.tic"):
            info = ticodec.decode(written).info
            assert ("exif" in info) == metadata
            assert not has_place(info.get("exif", b""))
