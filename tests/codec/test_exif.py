"""EXIF is kept byte for byte. Its orientation is applied once, to the thumbnail too."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import piexif
import pytest
import tifffile
from metadata_support import (
    HEIGHT,
    MAKER_NOTE,
    WIDTH,
    far,
    jpeg_bytes,
    opened,
    read,
    rewritten,
    rich_exif,
    saved,
    stored,
    upright_photo,
)
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from support import make_pixels

from ticodec.reading.opening import upright_size
from ticodec.reading.options import Reading
from ticodec.reading.read import read_picture, to_picture
from ticodec.writers import WRITERS, writer_of

SUFFIXES = [writer.suffixes[0] for writer in WRITERS]
#: Formats that store EXIF as one block. TIFF stores it as its own tags.
WHOLE = [suffix for suffix in SUFFIXES if suffix != ".tif"]


def heif(image: Image.Image, exif: bytes, **how: object) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    return saved(image, "HEIF", exif=exif, quality=90, **how)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF"])
def test_exif_is_kept_byte_for_byte(format: str) -> None:
    exif = rich_exif()
    data = (
        heif(upright_photo(), exif)
        if format == "HEIF"
        else saved(upright_photo(), format, exif=exif)
    )
    picture = read(data)
    assert picture.metadata["exif"] == exif
    assert picture.notes == []


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_exif_of_an_upright_photo_keeps_its_orientation(format: str) -> None:
    exif = rich_exif(1)
    assert read(saved(upright_photo(), format, exif=exif)).metadata["exif"] == exif


@pytest.mark.parametrize("suffix", WHOLE)
def test_exif_is_written_byte_for_byte(suffix: str) -> None:
    exif = rich_exif()
    image = rewritten(read(jpeg_bytes(upright_photo(), exif=exif)), suffix)
    assert image.info["exif"].removeprefix(b"Exif\0\0") == exif.removeprefix(b"Exif\0\0")


@pytest.mark.parametrize("orientation", range(2, 9))
def test_orientation_is_applied_once(orientation: int) -> None:
    """The next reader sees an upright photo. The maker note is at the same offset."""
    exif = rich_exif(orientation)
    data = jpeg_bytes(stored(upright_photo(), orientation), exif=exif)
    picture = read(data)
    kept = picture.metadata["exif"]
    assert far(Image.fromarray(picture.pixels), upright_photo()) < 8
    assert kept.index(MAKER_NOTE) == exif.index(MAKER_NOTE)
    assert len(kept) == len(exif)
    parts = piexif.load(kept)
    assert 274 not in parts["0th"] | parts["1st"]
    assert (parts["Exif"][40962], parts["Exif"][40963]) == (WIDTH, HEIGHT)
    assert parts["Exif"][37500] == MAKER_NOTE
    thumbnail = opened(parts["thumbnail"])
    assert far(thumbnail, upright_photo().resize((WIDTH // 2, HEIGHT // 2))) < 10
    assert picture.notes == []


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("orientation", [1, 6])
def test_the_next_reader_sees_an_upright_photo(suffix: str, orientation: int) -> None:
    exif = rich_exif(orientation)
    picture = read(jpeg_bytes(stored(upright_photo(), orientation), exif=exif))
    image = rewritten(picture, suffix)
    assert far(ImageOps.exif_transpose(image), upright_photo()) < 8
    exif = image.getexif()
    assert exif.get_ifd(0x8769)[37500] == MAKER_NOTE
    assert exif[315].encode("latin-1").decode() == "Ånne"
    assert exif.get_ifd(0xA005)[1] == "R98"
    if suffix in WHOLE:
        assert piexif.load(image.info["exif"])["thumbnail"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif_and_tiff_are_turned_once(orientation: int) -> None:
    """Readers of these formats turn the pixels, or put the orientation into EXIF that they make."""
    image, exif = stored(upright_photo(), orientation), rich_exif(orientation)
    tags = Image.Exif()
    tags[274] = orientation
    for data in (
        saved(image, "AVIF", exif=exif, quality=90, subsampling="4:4:4"),
        saved(image, "TIFF", exif=tags),
        saved(image, "TIFF", exif=tags, compression="tiff_lzw"),
    ):
        assert far(Image.fromarray(read(data).pixels), upright_photo()) < 8


def test_a_turned_avif_keeps_its_exif() -> None:
    """Pillow changes the EXIF when it reads the file, because AVIF has the orientation in a box."""
    data = saved(stored(upright_photo(), 3), "AVIF", exif=rich_exif(3), quality=90)
    kept = read(data).metadata["exif"]
    assert kept.removeprefix(b"Exif\0\0") in data
    assert MAKER_NOTE in kept
    assert opened(data).info["exif"].index(MAKER_NOTE) != kept.index(MAKER_NOTE)


def with_orientation(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[271], tags[274] = "Maker", orientation
    return tags


def test_a_jpeg_xl_keeps_its_exif_and_its_own_orientation() -> None:
    pytest.importorskip("pillow_jxl")
    exif = rich_exif(3)
    picture = read(saved(upright_photo(), "JXL", exif=exif, quality=95))
    assert far(Image.fromarray(picture.pixels), upright_photo()) < 8
    kept = picture.metadata["exif"]
    assert (len(kept), kept.index(MAKER_NOTE)) == (len(exif), exif.index(MAKER_NOTE))
    assert 274 not in piexif.load(kept)["0th"]


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_heif_is_turned_once(orientation: int) -> None:
    exif = rich_exif(orientation)
    picture = read(heif(stored(upright_photo(), orientation), exif))
    assert far(Image.fromarray(picture.pixels), upright_photo()) < 8
    parts = piexif.load(picture.metadata["exif"])
    assert parts["0th"].get(274, 1) == 1
    assert (parts["Exif"][40962], parts["Exif"][40963]) == (WIDTH, HEIGHT)
    assert picture.metadata["exif"].index(MAKER_NOTE) == exif.index(MAKER_NOTE)


def test_a_thumbnail_that_cannot_be_turned_is_dropped_with_a_note() -> None:
    exif = rich_exif(6)
    start = exif.index(b"\xff\xd8\xff")
    damaged = exif[:start] + exif[start : start + 30].ljust(len(exif) - start, b"\x55")
    picture = read(jpeg_bytes(stored(upright_photo(), 6), exif=damaged))
    assert [(note.kind, note.lost) for note in picture.notes] == [("thumbnail", True)]
    parts = piexif.load(picture.metadata["exif"])
    assert not parts["thumbnail"]
    assert parts["Exif"][37500] == MAKER_NOTE
    assert b"\x55" * 50 not in picture.metadata["exif"]


def test_exif_of_a_tiff_has_only_the_tags_about_the_photo() -> None:
    tags = ImageFileDirectory_v2()
    tags[271], tags[315] = "Maker", "Ånne".encode()
    tags[0x8769] = {36867: "2024:05:06 07:08:09"}
    for big in (False, True):
        data = saved(upright_photo(), "TIFF", tiffinfo=tags, dpi=(300, 300), big_tiff=big)
        parts = piexif.load(read(data).metadata["exif"])
        assert set(parts["0th"]) == {271, 282, 283, 296, 315, 34665}
        assert parts["0th"][315] == "Ånne".encode()
        assert parts["Exif"] == {36867: b"2024:05:06 07:08:09"}
    assert "exif" not in read(saved(upright_photo(), "TIFF")).metadata


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_iptc_of_a_tiff_is_kept_if_it_can_be_read() -> None:
    """Some programs write the bytes as numbers. Pillow reads only the first of them."""
    iptc = b"\x1c\x02\x5a\x00\x05Paris\0\0"
    for kind, count, value in (("B", 12, iptc), ("I", 3, struct.unpack("<3L", iptc))):
        out = io.BytesIO()
        tags = [(33723, kind, count, value, True)]
        pixels = np.asarray(upright_photo())
        tifffile.imwrite(out, pixels, photometric="rgb", extratags=tags)
        picture = read(out.getvalue())
        assert b"shape" not in picture.metadata["exif"]  # tifffile writes the shape of the samples
        if kind == "B":
            assert picture.notes == []
            assert rewritten(picture, ".tif").tag_v2[33723] == iptc
        else:
            assert [note.kind for note in picture.notes] == ["exif"]
            assert "33723" in picture.notes[0].text


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "block", [b"Exif\0\0garbage", b"Exif\0\0II*\0" + b"\xff" * 9, b"Exif\0\0?"]
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_exif_is_dropped_with_a_note(format: str, block: bytes) -> None:
    picture = read(saved(upright_photo(), format, exif=block))
    assert [(note.kind, note.lost) for note in picture.notes] == [("exif", True)]
    assert "exif" not in picture.metadata


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_exif_with_damage_after_its_first_tags_is_kept(suffix: str) -> None:
    """Two pointers of the EXIF are wrong. It is kept, and its first tags can be read."""
    exif = bytearray(rich_exif(6))
    for tag in (b"\x87\x69", b"\x88\x25"):
        at = exif.index(tag + b"\0\x04")
        exif[at + 8 : at + 12] = b"\0\xff\xff\xf0"
    picture = read(jpeg_bytes(stored(upright_photo(), 6), exif=bytes(exif)))
    assert len(picture.metadata["exif"]) == len(exif)
    assert picture.notes == []
    assert rewritten(picture, suffix).getexif()[271] == "Maker"


def test_exif_in_the_text_of_a_png() -> None:
    """ImageMagick writes EXIF in this way."""
    exif = rich_exif(6)
    chunks = PngInfo()
    digits = exif.hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    chunks.add_text("Raw profile type exif", f"\nexif\n{len(exif):8}\n{lines}\n", zip=True)
    picture = read(saved(stored(upright_photo(), 6), "PNG", pnginfo=chunks))
    assert far(Image.fromarray(picture.pixels), upright_photo()) < 1
    assert picture.metadata["exif"].index(MAKER_NOTE) == exif.index(MAKER_NOTE)


def test_pillows_save_keeps_metadata_in_the_same_way() -> None:
    """Metadata may be given as options, or come from a TIFF, whose EXIF is in its tags."""
    import ticodec.pillow  # noqa: F401

    exif = rich_exif(6)
    turned = opened(saved(stored(upright_photo(), 6), "TIC", model="tiny", exif=exif))
    assert turned.size == (WIDTH, HEIGHT)
    assert turned.info["exif"].index(MAKER_NOTE) == exif.index(MAKER_NOTE)
    assert 274 not in piexif.load(turned.info["exif"])["0th"]
    scan = Image.open(io.BytesIO(saved(upright_photo(), "TIFF", exif=with_orientation(1))))
    assert opened(saved(scan, "TIC", model="tiny", xmp=b"<x/>")).getexif()[271] == "Maker"


def test_the_size_that_is_checked_is_the_upright_one() -> None:
    turned = stored(upright_photo(), 6)
    for data in (jpeg_bytes(turned, exif=rich_exif(6)), saved(turned, "WEBP", exif=rich_exif(6))):
        image = Image.open(io.BytesIO(data))
        assert image.size == (HEIGHT, WIDTH)
        assert upright_size(image) == (HEIGHT, WIDTH)


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_a_resolution_outside_the_exif_is_kept(format: str) -> None:
    """A scan at 300 dpi keeps its size in print."""
    bare = saved(upright_photo(), format, dpi=(300, 300))
    rich = saved(upright_photo(), format, dpi=(600, 600), exif=rich_exif())
    for data, dpi in ((bare, 300), (rich, 600)):
        picture = read(data)
        assert picture.notes == []
        tags = piexif.load(picture.metadata["exif"])
        assert [tags["0th"][tag] for tag in (282, 283, 296)] == [(dpi, 1), (dpi, 1), 2]
        for suffix in (".png", ".jpg", ".tif"):
            assert rewritten(picture, suffix).info["dpi"] == pytest.approx((dpi, dpi), abs=0.02)
    assert tags["Exif"][37500] == MAKER_NOTE
    assert tags["thumbnail"] == piexif.load(rich_exif())["thumbnail"]
    assert picture.metadata["exif"].index(MAKER_NOTE) == rich_exif().index(MAKER_NOTE)


def test_a_resolution_turns_with_the_picture() -> None:
    """A fax has more dots per inch horizontally than vertically."""
    data = jpeg_bytes(stored(upright_photo(), 6), dpi=(204, 98), exif=with_orientation(6))
    tags = piexif.load(read(data).metadata["exif"])
    assert (tags["0th"][282], tags["0th"][283]) == ((98, 1), (204, 1))


def test_default_resolutions_are_not_kept() -> None:
    for dpi in (72, 96):
        for format in ("JPEG", "PNG", "BMP"):
            picture = read(saved(upright_photo(), format, dpi=(dpi, dpi)))
            assert (picture.metadata, picture.notes) == ({}, [])


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tags_that_other_programs_cannot_read_do_no_harm(suffix: str) -> None:
    """Pillow cannot open a JPEG whose resolution is text. libtiff cannot write a numeric maker."""
    exif = piexif.dump({"0th": {271: "Maker", 282: (300, 1), 296: 2}})
    exif = exif.replace(b"\x01\x1a\0\x05\0\0\0\x01", b"\x01\x1a\0\x02\0\0\0\x01")
    exif = exif.replace(b"\x01\x0f\0\x02\0\0\0\x06", b"\x01\x0f\0\x03\0\0\0\x01")
    picture = read(saved(upright_photo(), "PNG", exif=exif))
    assert picture.metadata["exif"] == exif
    assert rewritten(picture, suffix).size == (WIDTH, HEIGHT)


def test_a_resolution_that_does_not_fit_is_noted() -> None:
    exif = rich_exif(camera={37510: bytes(65_526 - len(rich_exif(camera={37510: b""})))})
    assert len(exif) > 65_500
    picture = read(jpeg_bytes(upright_photo(), exif=exif, dpi=(600, 600)))
    assert [note.kind for note in picture.notes] == ["dpi"]
    assert picture.metadata["exif"] == exif
    writer_of(".jpg").write(picture.to_image())


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_no_damage_to_exif_harms_the_photo() -> None:
    """With any wrong tag or pointer the picture is read, and written in every format."""
    random = np.random.default_rng(0)
    exif = rich_exif(6)
    for number in range(200):
        damaged = bytearray(exif)
        for place in random.integers(6, 250, random.integers(1, 6)):
            damaged[place] = random.choice([0, 1, 255, random.integers(256)])
        image = Image.new("RGB", (4, 3))
        image.info |= {"exif": bytes(damaged), "dpi": (300, 300)}
        for reading in (Reading(), Reading(strip_location=True)):
            picture = to_picture(image, reading)
            assert picture.pixels.size == 36
        if number % 10 == 0:
            for writer in WRITERS:
                opened(writer.write(picture.to_image()))


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_pixels_that_are_not_square_are_noted(format: str) -> None:
    """Programs that honour this show such pictures stretched."""
    out = io.BytesIO()
    image = Image.fromarray(make_pixels(48, 64))
    if format == "JPEG":
        image.save(out, "JPEG")
        data = bytearray(out.getvalue())
        at = data.index(b"JFIF\0") + 7
        data[at : at + 5] = struct.pack(">BHH", 0, 1, 2)
    else:
        image.save(out, "PNG")
        chunk = b"pHYs" + struct.pack(">IIB", 1, 2, 0)
        data = bytearray(out.getvalue())
        data[33:33] = struct.pack(">I", 9) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (note,) = read_picture(bytes(data)).notes
    assert (note.kind, note.lost) == ("dpi", True)
    assert "square" in note.text


def test_a_maker_note_that_moves_is_noted() -> None:
    """In a TIFF file the offsets of a maker note count from the beginning of the file."""
    image = Image.fromarray(make_pixels(48, 64))
    image.info["exif"] = rich_exif()
    (note,) = read_picture(writer_of("tif").write(image)).notes
    assert (note.kind, note.lost) == ("exif", True)
    assert "maker note" in note.text
