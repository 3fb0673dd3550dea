"""docs/what-is-kept.md is true: a file for each row is read, and its tables have every note."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from io import BytesIO

import numpy as np
import piexif
import pytest
import tifffile
from colour_support import gamma, png
from inspecting import heif, saved
from PIL import Image, ImageCms
from support import ROOT, WIDE_ICC, make_pixels

from ticodec.errors import BadInputError
from ticodec.notes import LARGER
from ticodec.picture import Picture
from ticodec.reading.options import Reading
from ticodec.reading.read import read_picture

PIXELS = make_pixels(48, 64)
PHOTO = Image.fromarray(PIXELS)
GREY = np.repeat(PIXELS[..., :1], 3, axis=2)
RGBA = np.dstack([PIXELS, GREY[..., 0]])
XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><r/></x:xmpmeta>"
GAIN = XMP.replace(
    b"<r/>", b"<r xmlns:hdrgm='http://ns.adobe.com/hdr-gain-map/1.0/' hdrgm:Version='1.0'/>"
)
UPRIGHT = piexif.dump({"0th": {piexif.ImageIFD.Make: b"maker"}})
TURNED = piexif.dump({"0th": {piexif.ImageIFD.Make: b"maker", piexif.ImageIFD.Orientation: 6}})
ALL = {"xmp": XMP, "icc_profile": WIDE_ICC, "quality": 95}
VIDEO = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0\0\0\x10mdat" + b"v" * 8


def moving() -> dict[str, object]:
    """Options of Pillow's `save` for a second picture."""
    return {"save_all": True, "append_images": [Image.fromarray(PIXELS[::-1].copy())]}


def jpeg(marker: int | None = None, payload: bytes = b"", **options: object) -> bytes:
    """A JPEG with an additional segment in front of all others."""
    photo = saved("JPEG", PHOTO, **({"quality": 95} | options))
    head = b"" if marker is None else struct.pack(">BBH", 0xFF, marker, len(payload) + 2)
    return photo[:2] + head + payload + photo[2:]


def wide_png(samples: np.ndarray) -> bytes:
    """A PNG with 16 bits per channel from (H, W, 3) uint16. Pillow cannot write these in colour."""
    rows = samples.astype(">u2").reshape(len(samples), -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], 16, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


def tiff(samples: np.ndarray, **options: object) -> bytes:
    out = BytesIO()
    tifffile.imwrite(out, samples, software=False, **options)
    return out.getvalue()


def lab() -> bytes:
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return saved("TIFF", ImageCms.profileToProfile(PHOTO, *profiles, outputMode="LAB"))


def heic_of_10_bits() -> bytes:
    import pillow_heif

    wide = (PIXELS.astype(np.uint16) << 8).astype("<u2")
    size = PIXELS.shape[1], PIXELS.shape[0]
    out = BytesIO()
    pillow_heif.from_bytes("RGB;16", size, wide.tobytes()).save(out)
    return out.getvalue()


def with_bits() -> bytes:
    return wide_png(PIXELS.astype(np.uint16) * 257)


IPTC = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x0c\x1c\x02x\0\x07caption\0"
EXTENDED = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + struct.pack(">II", 9, 0) + b"<x/>"
JFXX = b"JFXX\0\x11\x01\x01\0\0\0"
#: A function that makes the file of each row, by the row's first cell.
INPUTS: dict[str, Callable[[], bytes]] = {
    "JPEG of a camera, on its side": lambda: saved("JPEG", PHOTO, exif=TURNED, **ALL),
    "JPEG with equal channels": lambda: saved("JPEG", Image.fromarray(GREY), quality=95),
    "JPEG of a scanner, 300 dpi": lambda: jpeg(dpi=(300, 300)),
    "JPEG in CMYK": lambda: saved("JPEG", PHOTO.convert("CMYK"), quality=95),
    "JPEG with IPTC": lambda: jpeg(0xED, IPTC),
    "JPEG with a second part of XMP": lambda: jpeg(0xE1, EXTENDED),
    "JPEG with a comment": lambda: jpeg(comment=b"mine"),
    "JPEG with content credentials (C2PA)": lambda: jpeg(0xEB, b"JP\0\1\0\0\0\1" + b"\0" * 40),
    "JPEG with an unknown segment": lambda: jpeg(0xE5, b"whatever"),
    "JPEG with a damaged ICC profile": lambda: jpeg(icc_profile=b"damaged" * 30),
    "JPEG with a JFIF thumbnail": lambda: jpeg(0xE0, JFXX),
    "JPEG with two pictures (MPO)": lambda: saved("MPO", PHOTO, **moving()),
    "JPEG with a gain map (Ultra HDR)": lambda: jpeg(xmp=XMP) + jpeg(xmp=GAIN),
    "JPEG with a video after it (motion photo)": lambda: jpeg() + VIDEO,
    "JPEG with other bytes after it": lambda: jpeg() + b"more" * 99,
    "JPEG without its end marker": lambda: jpeg()[:-2],
    "JPEG that is cut": lambda: jpeg()[:-400],
    "PNG with transparency": lambda: saved("PNG", Image.fromarray(RGBA)),
    "PNG with gamma 1.8": lambda: png(PIXELS, gAMA=gamma(1 / 1.8)),
    "PNG with equal channels, 16 bits": lambda: wide_png(GREY.astype(np.uint16) * 257),
    "PNG with 16 bits per channel": with_bits,
    "PNG with text": lambda: png(PIXELS, tEXt=b"Title\0mine"),
    "PNG with an animation": lambda: saved("PNG", PHOTO, **moving()),
    "GIF with an animation": lambda: saved("GIF", PHOTO, **moving()),
    "WebP with metadata": lambda: saved("WEBP", PHOTO, exif=TURNED, **ALL),
    "WebP with an animation": lambda: saved("WEBP", PHOTO, **moving()),
    "AVIF with metadata": lambda: saved("AVIF", PHOTO, exif=UPRIGHT, **ALL),
    "HEIC with EXIF": lambda: heif(PHOTO, exif=UPRIGHT),
    "HEIC with 10 bits per channel": heic_of_10_bits,
    "TIFF with pages": lambda: saved("TIFF", PHOTO, **moving()),
    "TIFF with 16 bits per channel": lambda: tiff(
        PIXELS.astype(np.uint16) * 257, photometric="rgb"
    ),
    "TIFF with floats, 0 … 1": lambda: tiff(PIXELS[..., 0].astype(np.float32) / 255),
    "TIFF with floats of another range": lambda: tiff(PIXELS[..., 0].astype(np.float32) * 9),
    "TIFF with 32-bit integers": lambda: tiff(PIXELS[..., 0].astype(np.uint32) * 257),
    "TIFF in Lab": lab,
    "TIFF with five channels": lambda: tiff(
        np.dstack([PIXELS, GREY[..., :2]]), photometric="rgb", extrasamples=["unassalpha", 0]
    ),
    "raw file of a camera (DNG; `batch` leaves it out)": lambda: tiff(
        PIXELS, photometric="rgb", subfiletype=1
    ),
    "PDF": lambda: saved("PDF", PHOTO),
    "SVG": lambda: b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>",
    "video": lambda: VIDEO,
    "text": lambda: b"Dear Sir or Madam,\n" * 9,
    "empty file": lambda: b"",
    "`.tic`": lambda: b"\x89TIC\r\n\1" + b"\0" * 60,
}
#: Conversions as the table describes them, and functions that check them in a picture.
CONVERSIONS: dict[str, Callable[[Picture], bool]] = {
    "turned upright": lambda picture: picture.pixels.shape == (64, 48, 3),
    "grey": lambda picture: picture.grey,
    "to 8 bits": lambda picture: bool(np.abs(_red(picture) - PIXELS[..., 0]).mean() < 4),
    "to sRGB": lambda picture: bool(np.abs(picture.pixels.astype(int) - PIXELS).mean() < 9),
}


def _red(picture: Picture) -> np.ndarray:
    return picture.pixels[..., 0].astype(int)


def table(heading: str) -> list[list[str]]:
    """The rows of the table below a heading, without the table's head."""
    text = (ROOT / "docs" / "what-is-kept.md").read_text(encoding="utf-8")
    section = re.split(r"^## ", text.split(f"\n## {heading}\n")[1], flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


ROWS = {row[0]: row[1:] for row in table("Kinds of input")}


def test_there_is_a_file_for_each_row() -> None:
    assert list(ROWS) == list(INPUTS)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_true(name: str) -> None:
    kept, converted, noted, refused = ROWS[name]
    data = INPUTS[name]()
    if refused:
        with pytest.raises(BadInputError) as raised:
            read_picture(data)
        assert refused in str(raised.value)
        return
    picture = read_picture(data)
    has = {section.upper() for section in picture.metadata}
    has |= {"alpha"} if picture.alpha is not None else set()
    assert has == set(filter(None, kept.split(", ")))
    assert {note.kind for note in picture.notes} == set(re.findall(r"`([a-z-]+)`", noted))
    assert all(note.lost for note in picture.notes)
    conversions = set(filter(None, converted.split(", ")))
    assert conversions == {
        words for words in conversions | {"grey", "turned upright"} if CONVERSIONS[words](picture)
    }


def test_every_kind_of_note_is_in_the_table() -> None:
    """The kinds are searched for in the source, where notes are made."""
    listed = {
        kind: lost
        for kinds, lost, _ in table("Kinds of notes")
        for kind in re.findall(r"`([a-z-]+)`", kinds)
    }
    source = "\n".join(
        path.read_text(encoding="utf-8") for path in sorted((ROOT / "codec").rglob("*.py"))
    )
    made = set(re.findall(r"\b(?:Note|found\.add|add)\(\s*\"([a-z-]+)\"", source))
    made |= {LARGER}
    made |= set(re.findall(r"^    \"([a-z-]+)\": \"[^\"]* (?:is|are) dropped\"", source, re.M))
    assert made == set(listed)
    free = set(re.findall(r"Note\(\s*\"([a-z-]+)\"[^)]*lost=False", source))
    assert {kind for kind, lost in listed.items() if lost == "no"} == free | {LARGER}


@pytest.mark.parametrize(
    ("wish", "gone"), [("strip", {"exif", "xmp", "icc"}), ("strip_location", set())]
)
def test_options_strip_what_the_page_says(wish: str, gone: set[str]) -> None:
    row = next(row for row in table("What you can leave out") if f"`{wish}=True`" in row[1])
    assert row[0] == f"`--{wish.replace('_', '-')}`"
    photo = INPUTS["JPEG of a camera, on its side"]()
    picture = read_picture(photo, reading=Reading(**{wish: True}))
    assert set(read_picture(photo).metadata) - set(picture.metadata) == gone


def test_a_truncated_jpeg_is_read_if_that_is_allowed() -> None:
    picture = read_picture(INPUTS["JPEG that is cut"](), reading=Reading(allow_truncated=True))
    assert [(note.kind, note.lost) for note in picture.notes] == [("truncated", True)]
    assert picture.pixels.shape == PIXELS.shape


def test_metadata_that_is_stripped_is_no_loss() -> None:
    plain, stripped = (
        read_picture(jpeg(0xED, IPTC), reading=Reading(strip=strip)).notes
        for strip in (False, True)
    )
    assert [(note.kind, note.lost) for note in plain] == [("iptc", True)]
    assert [(note.kind, note.lost) for note in stripped] == [("iptc", False)]
    frames = read_picture(saved("GIF", PHOTO, **moving()), reading=Reading(strip=True)).notes
    assert [(note.kind, note.lost) for note in frames] == [("frames", True)]
