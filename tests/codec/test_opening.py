"""Opening files: photos, files that are not photos and their errors, raw files of cameras."""

from __future__ import annotations

import gzip
import struct
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from support import make_pixels

import ticodec
from ticodec.batch.messages import Job
from ticodec.batch.plan import make_plan
from ticodec.errors import BadInputError
from ticodec.image_files import SUFFIXES, list_images
from ticodec.reading.opening import open_image

#: Suffixes of formats that Pillow opens but that are not listed in folders, with the reason.
LEFT_OUT = {
    ".eps": "a document; another program has to draw it",
    ".ps": "a document; another program has to draw it",
    ".emf": "a drawing; only Windows draws it",
    ".wmf": "a drawing; only Windows draws it",
    ".mpg": "a video, which Pillow does not decode",
    ".mpeg": "a video, which Pillow does not decode",
    ".bufr": "measurements; Pillow only tells that it is that",
    ".grib": "measurements; Pillow only tells that it is that",
    ".h5": "measurements; Pillow only tells that it is that",
    ".hdf": "measurements; Pillow only tells that it is that",
    ".im": "Pillow is going to drop the format",
    ".iim": "metadata, hardly ever with a picture",
    ".fit": "mostly workouts of sports watches; pictures end in .fits",
    ".tic": "ours",
}
PIXELS = make_pixels(40, 60)


def saved(kind: str, **options) -> bytes:
    out = BytesIO()
    Image.fromarray(PIXELS).save(out, kind, **options)
    return out.getvalue()


def tiff(pixels: np.ndarray = PIXELS, **options) -> bytes:
    out = BytesIO()
    tifffile.imwrite(out, pixels, **options)
    return out.getvalue()


def dng(main: dict, first: dict, **options) -> bytes:
    """A DNG file: a first picture with the version of DNG, and the main picture below it."""
    out = BytesIO()
    with tifffile.TiffWriter(out, **options) as writer:
        version = (50706, "B", 4, (1, 4, 0, 0), True)
        writer.write(PIXELS[::4, ::4], subifds=1, extratags=[version], **first)
        writer.write(np.zeros((40, 60), np.uint16), **main)
    return out.getvalue()


def test_every_suffix_that_pillow_opens_is_listed_or_left_out_for_a_reason() -> None:
    import pillow_jxl  # noqa: F401  registers the format with Pillow

    Image.init()
    opened = {end for end, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    # Pillow opens MPO as JPEG. HEIF is not registered: see `formats.opener`.
    opened |= {".mpo", ".heic", ".heics", ".heif", ".heifs", ".hif"}
    assert opened - SUFFIXES <= set(LEFT_OUT)
    assert opened >= SUFFIXES
    assert not SUFFIXES & set(LEFT_OUT)


def test_folders_list_photos_of_all_kinds(tmp_path: Path) -> None:
    names = ["a.jfif", "b.jpe", "c.mpo", "d.HEIC", "e.jxl", "f.psd"]
    for name in [*names, "g.eps", "h.txt", "i.pdf"]:
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in list_images(tmp_path)] == names
    plan = make_plan(Job("encode", str(tmp_path), str(tmp_path / "out"), model="tiny"), [], [])
    assert [item.name for item in plan.items] == names


WRITTEN = [
    *("AVIF", "BLP", "BMP", "DDS", "DIB", "GIF", "ICNS", "ICO", "JPEG", "JPEG2000", "MPO"),
    *("PCX", "PNG", "PPM", "QOI", "SGI", "TGA", "TIFF", "WEBP"),
]


@pytest.mark.parametrize("kind", WRITTEN)
def test_formats_that_pillow_writes_are_opened(kind: str) -> None:
    image = Image.fromarray(PIXELS).resize((64, 64))
    if kind == "BLP":
        image = image.convert("P")
    out = BytesIO()
    image.save(out, kind)
    opened, notes = open_image(out.getvalue())
    assert notes == []
    assert np.asarray(opened.convert("RGB")).std() > 20


def test_raw_files_are_refused() -> None:
    tagged = {"NewSubfileType 1": tiff(subfiletype=1), "big": tiff(subfiletype=1, bigtiff=True)}
    tagged["of the other order"] = tiff(subfiletype=1, byteorder=">")
    tagged["a preview and a page"] = tiff(subfiletype=1, photometric="rgb") + bytes(100)
    tagged["of a sensor"] = tiff(
        np.zeros((40, 60), np.uint16),
        photometric="cfa",
        extratags=[(33421, "H", 2, (2, 2), True), (33422, "B", 4, (0, 1, 1, 2), True)],
    )
    main = {"photometric": "minisblack", "subfiletype": 0}
    tagged["DNG"] = dng(main, {"subfiletype": 1})
    tagged["DNG of a careless writer"] = dng(main, {"subfiletype": 0})
    tagged["DNG, big-endian BigTIFF"] = dng(main, {}, bigtiff=True, byteorder=">")
    tagged["old"] = saved("TIFF", tiffinfo={255: 2})
    plain = saved("TIFF")
    tagged["CR2"] = b"II*\0\x10\0\0\0CR\x02\0" + plain[12:]
    for beginning in (b"FUJIFILMCCD-RAW 0201", b"IIU\0", b"IIRO", b"FOVb", b"\0MRM"):
        tagged[repr(beginning)] = beginning + plain
    tagged["CR3"] = b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + plain
    for name, data in tagged.items():
        with pytest.raises(BadInputError, match=r"raw file of a camera.*develop it to a TIFF") as e:
            open_image(data)
        assert "\n" not in str(e.value), name


def test_ordinary_tiff_files_are_accepted() -> None:
    pages = BytesIO()
    with tifffile.TiffWriter(pages) as writer:
        for _ in range(3):
            writer.write(PIXELS, subfiletype=2)
    pyramid = BytesIO()
    with tifffile.TiffWriter(pyramid) as writer:
        writer.write(PIXELS, subifds=1)
        writer.write(PIXELS[::2, ::2], subfiletype=1)
    thumbnail = BytesIO()
    with tifffile.TiffWriter(thumbnail) as writer:
        writer.write(PIXELS)
        writer.write(PIXELS[::4, ::4], subfiletype=1)
    version = (50706, "B", 4, (1, 4, 0, 0), True)
    for data in (
        *(pages.getvalue(), pyramid.getvalue(), thumbnail.getvalue()),
        *(tiff(), tiff(bigtiff=True), tiff(byteorder=">"), saved("TIFF", compression="jpeg")),
        *(tiff(extratags=[version]), saved("TIFF", big_tiff=True)),
    ):
        image, _ = open_image(data)
        assert image.size == (60, 40)


def zipped() -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.jpg", b"x")
    return out.getvalue()


SVG = b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"
NO_IMAGES = {
    "a PDF document": saved("PDF"),
    "a PostScript document": saved("EPS"),
    "an SVG drawing": b"<?xml version='1.0' encoding='UTF-8'?>\n<!-- made -->\n" + SVG,
    "a web page (HTML)": b"<!DOCTYPE html>\n<html><body>404" + SVG,
    "text": "Kein Bild, sondern ein Brief: schöne Grüße".encode(),
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n",
    "a video": b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(40),
    "a video, ": b"\0\0\0\x14ftypqt  \0\0\2\0qt  " + bytes(40),
    "a video, , ": b"RIFF\0\0\1\0AVI LIST" + bytes(40),
    "a video, , , ": b"\x1aE\xdf\xa3" + bytes(40),
    "a video, , , , ": struct.pack(">I", 0x1B3) + b"\x14\x00\xf0\x13" + bytes(40),
    "a ZIP archive": zipped(),
    "compressed by gzip": gzip.compress(b"x"),
    "nothing but zeros": bytes(5000),
    "a damaged JPEG": saved("JPEG")[:4],
    "a damaged PNG": saved("PNG")[:10],
    "a damaged HEIC or AVIF photo": saved("AVIF")[:40],
    "a table of measurements (GRIB)": b"GRIB\0\0\0\1" + bytes(40),
    "a drawing of Windows": b"\xd7\xcd\xc6\x9a\0\0\0\0\0\0\x40\0\x40\0\x60\0"
    + bytes(6)
    + b"\1\0\t\0",
}


@pytest.mark.parametrize("what", NO_IMAGES)
def test_the_error_names_the_kind_of_a_file_that_is_no_image(what: str) -> None:
    with pytest.raises(BadInputError) as refused:
        open_image(NO_IMAGES[what])
    said = f"not an image that Pillow can read; it seems to be {what.rstrip(', ')}"
    assert str(refused.value).startswith(said)
    assert "\n" not in str(refused.value)


def test_bytes_of_no_known_kind() -> None:
    with pytest.raises(BadInputError, match=r"^not an image that Pillow can read$"):
        open_image(b"\x05\x06\x07\x08" * 50)


def test_the_command_says_what_is_wrong_with_a_file(tmp_path: Path, run) -> None:
    path = tmp_path / "photo.jpg"
    cases = {
        "the file is empty": b"",
        "it seems to be a web page (HTML)": b"<html>Not found</html>",
        "a .tic file; decode it first": ticodec.encode(PIXELS, model="tiny"),
        "raw file of a camera": tiff(subfiletype=1),
    }
    for words, data in cases.items():
        path.write_bytes(data)
        run("encode", path, "-m", "tiny").fails(3, f"{path}: ", words)
