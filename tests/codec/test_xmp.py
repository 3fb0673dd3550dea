"""XMP in any encoding is kept byte for byte, without an orientation that was applied."""

from __future__ import annotations

import struct

import pytest
from metadata_support import far, jpeg_bytes, read, rewritten, saved, stored, upright_photo
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from ticodec.reading.read import to_picture
from ticodec.writers import WRITERS, writer_of

SUFFIXES = [writer.suffixes[0] for writer in WRITERS]
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
TIFF = "http://ns.adobe.com/tiff/1.0/"


def packet(attributes: str = "", elements: str = "") -> str:
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f'<rdf:RDF xmlns:rdf="{RDF}"><rdf:Description rdf:about="" xmlns:dc="d" dc:title="Ünï" '
        f"{attributes}>{elements}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end='w'?>"
    )


ATTRIBUTE = packet(f"xmlns:tiff='{TIFF}' tiff:Orientation='6'")
ODD = {
    "UTF-8": packet().encode(),
    "UTF-8, padded": packet().encode() + b" " * 300 + b"\n",
    "UTF-8 and NUL": packet().encode() + b"\0\0",
    "UTF-16": packet().encode("utf-16-le"),
    "UTF-16 and a mark": b"\xfe\xff" + packet().encode("utf-16-be"),
    "Latin-1": packet().replace("\ufeff", "").encode("latin-1"),
    "no XML": b"\0\x80\xff<x\0/>",
}


def gif_with(xmp: bytes) -> bytes:
    """A GIF with XMP as the specification requires: not in blocks, with a ramp after it."""
    block = b"!\xff\x0bXMP DataXMP" + xmp + bytes([1, *range(255, -1, -1), 0])
    gif = saved(upright_photo().quantize(16), "GIF")
    start = gif.index(b"!\xf9") if b"!\xf9" in gif else gif.index(b",")
    return gif[:start] + block + gif[start:]


def png_with(xmp: bytes) -> bytes:
    chunks = PngInfo()
    chunks.add(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    return saved(upright_photo(), "PNG", pnginfo=chunks)


def tiff_with(xmp: bytes) -> bytes:
    tags = Image.Exif()
    tags[700] = xmp
    return saved(upright_photo(), "TIFF", exif=tags)


def heif_with(xmp: bytes) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    place = b"A" * len(xmp)  # pillow-heif would write it in UTF-8
    return saved(upright_photo(), "HEIF", xmp=place).replace(place, xmp)


SOURCES = {
    "JPEG": lambda xmp: jpeg_bytes(upright_photo(), xmp=xmp),
    "WEBP": lambda xmp: saved(upright_photo(), "WEBP", xmp=xmp),
    "AVIF": lambda xmp: saved(upright_photo(), "AVIF", xmp=xmp),
    "PNG": png_with,
    "TIFF": tiff_with,
    "GIF": gif_with,
    "HEIF": heif_with,
}


@pytest.mark.parametrize(
    ("name", "source"),
    # In a GIF a zero byte ends the XMP.
    [(name, one) for name in ODD for one in SOURCES if one != "GIF" or b"\0" not in ODD[name]],
)
def test_xmp_is_read_byte_for_byte(name: str, source: str) -> None:
    picture = read(SOURCES[source](ODD[name]))
    assert picture.metadata["xmp"] == ODD[name]
    assert not {"xmp", "exif"} & {note.kind for note in picture.notes}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ODD)
def test_xmp_is_written_byte_for_byte(name: str, suffix: str) -> None:
    picture = read(jpeg_bytes(upright_photo(), xmp=ODD[name]))
    image = rewritten(picture, suffix)
    assert image.info["xmp"] == ODD[name]
    image.load()


def test_the_chunk_of_a_png_is_complete() -> None:
    data = writer_of("png").write(read(png_with(ODD["UTF-16"])).to_image())
    at, found = 8, []
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        found += [data[at + 8 : at + 8 + length]] * (kind == b"iTXt")
        at += 12 + length
    assert found == [b"XML:com.adobe.xmp\0\0\0\0\0" + ODD["UTF-16"]]


ORIENTED = [
    ATTRIBUTE,
    packet(f'xmlns:tiff = "{TIFF}" tiff:Orientation = "6"'),
    packet(f'xmlns:t="{TIFF}" t:Orientation="6"'),
    packet(f'xmlns:tiff="{TIFF}"', "<tiff:Orientation>6</tiff:Orientation>"),
    packet(
        f'xmlns:exif-tiff.1="{TIFF}"', "<exif-tiff.1:Orientation>\n 6 </exif-tiff.1:Orientation>"
    ),
]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-16"])
@pytest.mark.parametrize("xmp", ORIENTED)
def test_an_orientation_in_the_xmp_alone_is_applied(xmp: str, encoding: str) -> None:
    before = xmp.encode(encoding)
    picture = read(jpeg_bytes(stored(upright_photo(), 6), xmp=before))
    assert far(Image.fromarray(picture.pixels), upright_photo()) < 8
    after = picture.metadata["xmp"]
    assert "exif" not in picture.metadata
    assert len(after) == len(before)
    assert [(a, b) for a, b in zip(before, after, strict=True) if a != b] == [(ord("6"), ord("1"))]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("xmp", ORIENTED)
def test_both_orientations_are_removed(xmp: str, suffix: str) -> None:
    tags = Image.Exif()
    tags[271], tags[274] = "Maker", 6
    data = jpeg_bytes(stored(upright_photo(), 6), exif=tags, xmp=xmp.encode())
    image = rewritten(read(data), suffix)
    assert far(ImageOps.exif_transpose(image), upright_photo()) < 8


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize(("exif", "xmp"), [(1, 6), (3, 6), (6, 3)])
def test_the_orientation_of_the_exif_wins(format: str, exif: int, xmp: int) -> None:
    tags = Image.Exif()
    tags[271], tags[274] = "Maker", exif
    text = ATTRIBUTE.replace("'6'", f"'{xmp}'").encode()
    how = {"exif": tags}
    if format == "PNG":
        how["pnginfo"] = PngInfo()
        how["pnginfo"].add_itxt("XML:com.adobe.xmp", text.decode())
    elif format == "TIFF":
        tags[700] = text
    else:
        how["xmp"] = text
    picture = read(saved(stored(upright_photo(), exif), format, **how))
    assert far(Image.fromarray(picture.pixels), upright_photo()) < 12
    assert picture.metadata["xmp"] == text.replace(f"'{xmp}'".encode(), b"'1'")


def test_what_looks_like_an_orientation_stays() -> None:
    """Properties of other names, and impossible values."""
    text = packet(f'xmlns:tiff="{TIFF}" xmlns:my="m" my:Orientation="6" tiff:Orientation="9"')
    picture = read(jpeg_bytes(upright_photo(), xmp=text.encode()))
    assert far(Image.fromarray(picture.pixels), upright_photo()) < 8
    assert picture.metadata["xmp"] == text.encode()


def test_xmp_in_the_text_of_a_png() -> None:
    """ImageMagick writes XMP in this way. XMP may also be Latin-1 text."""
    xmp = ATTRIBUTE.encode()
    for keyword, text in (
        ("Raw profile type xmp", f"\nxmp\n{len(xmp):8}\n{xmp.hex()}\n"),
        ("XML:com.adobe.xmp", xmp.decode("latin-1")),
    ):
        chunks = PngInfo()
        chunks.add_text(keyword, text)
        picture = read(saved(stored(upright_photo(), 6), "PNG", pnginfo=chunks))
        assert far(Image.fromarray(picture.pixels), upright_photo()) < 1
        assert picture.metadata["xmp"] == xmp.replace(b"'6'", b"'1'")


def test_xmp_that_an_image_in_memory_stores_as_text() -> None:
    image = upright_photo()
    image.info["xmp"] = "<x>Ω</x>"
    assert to_picture(image).metadata["xmp"] == "<x>Ω</x>".encode()
