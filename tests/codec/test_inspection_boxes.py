"""Notes about AVIF and HEIC files that have more than one 8-bit picture."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from io import BytesIO
from types import MappingProxyType

import numpy as np
import pillow_heif
from inspecting import heif, notes_of, opened, photo, saved
from PIL import Image, ImageCms
from support import make_pixels

from ticodec.reading.structure.found import Found
from ticodec.reading.structure.heif_file import look

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
C2PA = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content) + 8) + name + content


def full(name: bytes, content: bytes, version: int = 0) -> bytes:
    return box(name, struct.pack(">I", version << 24) + content)


def item(number: int, kind: bytes, more: bytes = b"") -> bytes:
    return full(b"infe", struct.pack(">HH", number, 0) + kind + b"\0" + more, 2)


def reference(name: bytes, source: int, *to: int) -> bytes:
    return box(name, struct.pack(f">HH{len(to)}H", source, len(to), *to))


def heic(
    items: list[bytes],
    references: Sequence[bytes] = (),
    properties: Sequence[bytes] = (),
    uses: Mapping[int, list[int]] = MappingProxyType({}),
) -> bytes:
    """The structure of a HEIC file without pixels. Item 1 is its picture."""
    used = b"".join(
        struct.pack(">HB", number, len(own)) + bytes(own) for number, own in uses.items()
    )
    parts = [
        full(b"pitm", struct.pack(">H", 1)),
        full(b"iinf", struct.pack(">H", len(items)) + b"".join(items)),
        full(b"iref", b"".join(references)),
        box(
            b"iprp",
            box(b"ipco", b"".join(properties)) + full(b"ipma", struct.pack(">I", len(uses)) + used),
        ),
    ]
    return box(b"ftyp", b"heic\0\0\0\0mif1") + full(b"meta", b"".join(parts)) + box(b"mdat", b"x")


def kinds(data: bytes) -> dict[str, str]:
    """Notes of a file without pixels."""
    found = Found()
    look(data, Image.new("RGB", (1, 1)), found)
    return {note.kind: note.text for note in found.notes()}


def test_plain_files_lose_nothing() -> None:
    exif = Image.Exif()
    exif[271] = "Camera"
    kept = {"icc_profile": PROFILE, "exif": exif.tobytes(), "xmp": b"<x:xmpmeta/>"}
    assert notes_of(saved("AVIF", **kept)) == {}
    assert notes_of(heif(photo(), **kept)) == {}
    for mode in ("RGBA", "L"):
        assert notes_of(saved("AVIF", photo().convert(mode))) == {}
        assert notes_of(heif(photo().convert(mode))) == {}


def test_frames() -> None:
    avif = saved("AVIF", save_all=True, append_images=[photo(1), photo(2)])
    assert notes_of(avif) == {"frames": "2 further frames are dropped"}
    pictures = heif(photo(), photo(1), photo(2))
    assert notes_of(pictures) == {"frames": "2 further pictures are dropped"}


def test_more_bits() -> None:
    pixels = make_pixels(32, 32).astype(np.uint16) * 257
    file = BytesIO()
    pillow_heif.from_bytes("RGB;16", (32, 32), pixels.tobytes()).save(file)
    assert notes_of(file.getvalue()) == {"bits": "10 bits per channel are reduced to 8"}
    for bits, flags in ((8, 0x0C), (10, 0x4C), (12, 0x6C)):  # AV1's; no encoder here writes them
        data = heic([item(1, b"av01")], [], [box(b"av1C", bytes([0x81, 0, flags, 0]))], {1: [1]})
        expected = {"bits": f"{bits} bits per channel are reduced to 8"} if bits > 8 else {}
        assert kinds(data) == expected


def test_thumbnails_of_a_heic() -> None:
    big = photo(size=(128, 128))
    big.info["thumbnails"] = [64]
    assert set(notes_of(heif(big))) == {"thumbnail"}


def test_bytes_after_the_end() -> None:
    for data in (saved("AVIF"), heif(photo())):
        assert notes_of(data + b"hidden bytes")["trailing"].startswith("12 bytes")
        assert notes_of(data + b"\0" * 100) == {}
        assert set(notes_of(data + box(b"mpvd", b"video"))) == {"video"}
        assert set(notes_of(data + box(b"uuid", C2PA + b"manifest"))) == {"credentials"}
        assert notes_of(data + box(b"mine", b"x"))["metadata"] == "other data is dropped: mine"


def test_a_phone_s_heic() -> None:
    """Its tiles are the picture. Its thumbnail, gain map, depth map and matte are not."""
    urns = [
        b"urn:com:apple:photo:2020:aux:hdrgainmap",
        b"urn:mpeg:hevc:2015:auxid:2",
        b"urn:com:apple:photo:2018:aux:portraiteffectsmatte",
        b"urn:mpeg:hevc:2015:auxid:1",
    ]
    items = [item(1, b"grid"), item(2, b"hvc1"), item(3, b"hvc1"), item(4, b"hvc1")]
    items += [item(number, b"hvc1") for number in range(5, 9)] + [item(9, b"Exif")]
    items += [item(10, b"mime", b"application/rdf+xml\0")]
    references = [reference(b"dimg", 1, 2, 3), reference(b"thmb", 4, 1), reference(b"cdsc", 9, 1)]
    references += [reference(b"auxl", number, 1) for number in range(5, 9)]
    data = heic(
        items,
        references,
        [full(b"auxC", urn + b"\0") for urn in urns],
        {number: [number - 4] for number in range(5, 9)},
    )
    assert kinds(data) == {
        "thumbnail": "a smaller copy of the picture is dropped",
        "gain-map": "its gain map, which is for HDR screens, is dropped",
        "depth-map": "its depth map is dropped",
        "auxiliary": "images that belong to its picture are dropped: portraiteffectsmatte",
    }
    assert kinds(data) == kinds(data + b"\0\0\0\0")


def test_iso_gain_maps() -> None:
    """Item 2 is the gain map, and does not count as another picture."""
    items = [item(1, b"av01"), item(2, b"av01"), item(3, b"tmap")]
    assert set(kinds(heic(items, [reference(b"dimg", 3, 1, 2)]))) == {"gain-map"}


def test_further_items() -> None:
    items = [
        item(1, b"hvc1"),
        item(2, b"hvc1"),
        item(3, b"mime", b"text/plain\0"),
        item(4, b"uri "),
    ]
    assert kinds(heic(items)) == {
        "frames": "1 further picture is dropped",
        "metadata": "other data is dropped: text/plain, uri",
    }


def test_properties() -> None:
    said = [box(b"clli", b"\0" * 4), full(b"udes", b"en\0Name\0"), full(b"pixi", b"\x01\x0a")]
    assert kinds(heic([item(1, b"hvc1")], [], said, {1: [1, 2, 3]})) == {
        "bits": "10 bits per channel are reduced to 8",
        "metadata": "other data is dropped: brightness of its content",
        "text": "text stored with the picture is dropped: a description",
    }


def test_image_sequences_that_pillow_does_not_count() -> None:
    sizes = full(b"stsz", struct.pack(">II", 0, 5))
    handler = full(b"hdlr", b"\0\0\0\0pict" + b"\0" * 13)
    media = box(b"mdia", handler + box(b"minf", box(b"stbl", sizes)))
    data = heic([item(1, b"hvc1")]) + box(b"moov", box(b"trak", media))
    assert kinds(data) == {"frames": "4 further frames are dropped"}


def test_a_truncated_file_has_no_bytes_after_its_end() -> None:
    data = saved("AVIF")
    assert kinds(data[:-20]) == {}
    assert opened(data).format == "AVIF"
