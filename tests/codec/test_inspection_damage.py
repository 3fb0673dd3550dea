"""Inspecting damaged and hostile files raises no error and takes little time and memory."""

from __future__ import annotations

import struct
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inspecting import heif, opened, photo, saved
from PIL import Image

from ticodec.reading.inspection import LOOKS, inspected
from ticodec.reading.structure.found import Found
from ticodec.reading.structure.steps import TooManySteps

SMALL = photo(0, (8, 8))


def more(kind: str, **options: object) -> bytes:
    """A file with two pictures."""
    second = photo(1, (8, 8))
    return saved(kind, SMALL, save_all=True, append_images=[second], **options)


#: A file of every format that is inspected, with as many features as possible.
FILES = {
    "AVIF": more("AVIF", exif=b"II*\0\x08\0\0\0\0\0\0\0\0\0"),
    "BMP": saved("BMP", SMALL),
    "CUR": b"\0\0\2\0\3\0" + b"\0" * 40,
    "GIF": more("GIF", comment=b"Hello"),
    "HEIF": heif(SMALL.convert("RGBA"), photo(1, (8, 8)), xmp=b"<x/>"),
    "ICNS": saved("ICNS", SMALL),
    "ICO": saved("ICO", SMALL),
    "JPEG": saved("JPEG", SMALL, comment=b"Hello", progressive=True) + b"\0\0\0\x10ftypmp42",
    "JPEG2000": saved("JPEG2000", SMALL, comment="Hello"),
    "MPO": more("MPO", xmp=b'Item:Semantic="GainMap"'),
    "PNG": more("PNG", xmp=b"<x/>"),
    "PPM": saved("PPM", SMALL),
    "PSD": b"8BPS\0\1" + b"\0" * 6 + b"\0\3\0\0\0\2\0\0\0\2\0\x08\0\3" + b"\0\0\0\4" * 12,
    "SGI": saved("SGI", SMALL),
    "TIFF": more("TIFF"),
    "WEBP": more("WEBP", xmp=b"<x/>"),
    "JXL": b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0\0\0\x0cjhgmabcd",
}
SAMSUNG = b"SEFH" + struct.pack("<II4sII", 1, 1, b"\0\0\x30\x0a", 40, 40)
TRAILER = SAMSUNG + struct.pack("<I", len(SAMSUNG)) + b"SEFT"


def test_files_has_every_format() -> None:
    assert set(FILES) == set(LOOKS)


@pytest.mark.parametrize("format", sorted(FILES))
@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_never_raises(format: str, data: st.DataObject) -> None:
    """Bytes are changed, removed, doubled or inserted after the image was opened."""
    file = bytearray(FILES[format])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(file)))
        until = data.draw(st.integers(at, min(at + 40, len(file))))
        file[at:until] = data.draw(
            st.one_of(
                st.binary(max_size=12),
                st.sampled_from([b"\0\0\0\0", b"\xff\xff\xff\xff", bytes(file[:80]), TRAILER]),
            )
        )
    if data.draw(st.booleans()):
        del file[data.draw(st.integers(0, len(file))) :]
    LOOKS[format](bytes(file), Image.new("RGB", (8, 8)), Found())


@pytest.mark.parametrize("format", sorted(FILES))
def test_truncation_at_every_byte_never_raises(format: str) -> None:
    file = FILES[format]
    for end in range(0, len(file), 1 if len(file) < 1000 else 7):
        LOOKS[format](file[:end], Image.new("RGB", (8, 8)), Found())


def test_an_error_while_inspecting_becomes_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(data: bytes, image: Image.Image, found: Found) -> None:
        found.add("iptc")
        raise KeyError("a mistake of ours")

    monkeypatch.setitem(LOOKS, "PNG", broken)
    assert [note.kind for note in inspected(FILES["PNG"], opened(FILES["PNG"]))] == [
        "iptc",
        "metadata",
    ]


def directories() -> bytes:
    """A TIFF of 20 MB with pages that have no tags."""
    page = struct.Struct("<HI")
    pages = b"".join(page.pack(0, 8 + 6 * (number + 1)) for number in range(400_000))
    return b"II*\0\x08\0\0\0" + pages


def samsung_list() -> bytes:
    """A list of entries whose names are all at the same place."""
    return saved("JPEG", SMALL) + SAMSUNG + SAMSUNG[12:] * 500_000 + TRAILER[-8:]


def items() -> bytes:
    """A HEIC with 60,000 tone-mapped images, each of which refers to all others."""
    kinds = b"".join(
        struct.pack(">I4sIHH4sx", 21, b"infe", 2 << 24, number, 0, b"tmap")
        for number in range(60_000)
    )
    made = struct.pack(">HH", 1, 60_000) + bytes(120_000)
    boxes = [b"iinf\0\0\0\0" + struct.pack(">H", 60_000) + kinds]
    boxes += [b"iref\0\0\0\0" + struct.pack(">I", 8 + len(made)) + b"dimg" + made]
    boxes = [struct.pack(">I", 4 + len(box)) + box for box in boxes]
    meta = b"meta\0\0\0\0" + b"".join(boxes)
    return struct.pack(">I", 4 + len(meta)) + meta


def lists() -> bytes:
    """Thousands of lists of pictures, each with thousands of entries."""
    mpf = b"MPF\0II*\0\x08\0\0\0\1\0\2\xb0\7\0" + struct.pack("<III", 60_000, 0, 0)
    return b"\xff\xd8" + (b"\xff\xe2" + struct.pack(">H", 2 + len(mpf)) + mpf) * 9_000


HOSTILE: dict[str, tuple[str, Callable[[], bytes]]] = {
    "segments": ("JPEG", lambda: b"\xff\xd8" + b"\xff\xe3\0\2" * 3_000_000),
    "scans": ("JPEG", lambda: b"\xff\xd8" + b"\xff\xda\0\2\0" * 3_000_000),
    "pictures": ("JPEG", lambda: FILES["JPEG"][:-16] * 10_000),
    "ends": ("JPEG", lambda: b"\xff\xd8\xff\xd9" * 3_000_000),
    "samsung": ("JPEG", samsung_list),
    "chunks": ("PNG", lambda: b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0abcdCRC!" * 1_000_000),
    "texts": ("PNG", lambda: b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0tEXtCRC!" * 1_000_000),
    "riff": ("WEBP", lambda: b"RIFF\xff\xff\xff\x7fWEBP" + b"abcd\0\0\0\0" * 1_000_000),
    "blocks": ("GIF", lambda: b"GIF89a" + b"\0" * 7 + b"!\xff" + b"\x01a" * 5_000_000),
    "no blocks": ("GIF", lambda: b"GIF89a" + b"\0" * 10_000_000),
    "boxes": ("AVIF", lambda: b"\0\0\0\x08free" * 1_000_000),
    "deep": ("AVIF", lambda: b"\0\x7f\xff\xffmoov" + b"\0\0\0\x08trak" * 1_000_000),
    "items": ("HEIF", items),
    "lists": ("JPEG", lists),
    "videos": ("JPEG", lambda: FILES["JPEG"] + b"ftyp\1\1\1\1" * 3_000_000),
    "pages": ("TIFF", directories),
    "tags": ("TIFF", lambda: b"II*\0\x08\0\0\0" + b"\xff\xff\1\0" * 2_000_000),
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_hostile_files_take_little_time_and_memory(name: str) -> None:
    """At most a second on a busy machine. To inspect the whole file would take far longer."""
    format, make = HOSTILE[name]
    data = make()
    image = Image.new("RGB", (8, 8))
    image.info["icc_profile"] = b""
    started = time.process_time()
    with suppress(TooManySteps):
        LOOKS[format](data, image, Found())
    assert time.process_time() - started < 1


def test_large_files_are_not_copied() -> None:
    parts = {
        "JPEG": FILES["JPEG"][:-18] + b"\x55" * 30_000_000,
        "PNG": FILES["PNG"] + b"\x55" * 30_000_000,
        "WEBP": FILES["WEBP"] + b"\x55" * 30_000_000,
    }
    image = Image.new("RGB", (8, 8))
    for format, data in parts.items():
        tracemalloc.start()
        started = time.process_time()
        LOOKS[format](data, image, Found())
        assert time.process_time() - started < 1
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
        tracemalloc.stop()
