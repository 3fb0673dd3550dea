"""Notes about JPEG files that have more than their picture."""

from __future__ import annotations

import struct

import piexif
import pytest
from inspecting import notes_of, opened, photo, saved
from PIL import Image, ImageCms

from ticodec.notes import Note
from ticodec.reading.inspection import inspected
from ticodec.reading.structure.jpeg_segments import END, segments
from ticodec.reading.structure.steps import TooManySteps

PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF %s/></x:xmpmeta>'
VIDEO = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom\0\0\x10\x00mdat" + b"\x07" * 4088


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def with_segments(*parts: bytes, data: bytes | None = None) -> bytes:
    """A JPEG with additional segments at its start."""
    data = data or saved("JPEG")
    return data[:2] + b"".join(parts) + data[2:]


def resource(code: int, content: bytes) -> bytes:
    """One of Photoshop's image resources, without a name."""
    pad = b"\0" * (len(content) % 2)
    return b"8BIM" + struct.pack(">HHI", code, 0, len(content)) + content + pad


def photoshop(*resources: bytes) -> bytes:
    return with_segments(segment(0xED, b"Photoshop 3.0\0" + b"".join(resources)))


def pictures(*images: Image.Image) -> bytes:
    """Several JPEGs in one file with a list of them (MPF)."""
    return saved("MPO", images[0], save_all=True, append_images=list(images[1:]))


def with_xmp(image: Image.Image, xmp: bytes) -> Image.Image:
    image.encoderinfo = {"xmp": xmp}
    return image


def camera_jpeg(**options: object) -> bytes:
    """A JPEG as cameras write it, with EXIF, a thumbnail, an ICC profile and XMP."""
    thumbnail = saved("JPEG", photo(1, (24, 32)))
    exif = piexif.dump(
        {
            "0th": {piexif.ImageIFD.Make: "Camera", piexif.ImageIFD.Orientation: 1},
            "Exif": {piexif.ExifIFD.MakerNote: b"maker's own" * 50},
            "GPS": {piexif.GPSIFD.GPSLatitudeRef: "N"},
            "1st": {piexif.ImageIFD.Make: "Camera"},
            "thumbnail": thumbnail,
        }
    )
    return saved("JPEG", exif=exif, icc_profile=PROFILE, xmp=XMP % b"", dpi=(72, 72), **options)


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}, {"optimize": True}]
)
def test_a_camera_s_jpeg_loses_nothing(options: dict[str, object]) -> None:
    """The end of the thumbnail must not be taken for the end of the file."""
    assert notes_of(camera_jpeg(**options)) == {}


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_modes_lose_nothing_here(mode: str) -> None:
    assert notes_of(saved("JPEG", photo().convert(mode))) == {}


def test_padding_and_a_missing_end_lose_nothing() -> None:
    assert notes_of(camera_jpeg() + b"\0" * 3000) == {}
    assert notes_of(with_segments(b"\xff\xff\xff")) == {}


def test_bytes_after_the_end() -> None:
    for data in (camera_jpeg(), camera_jpeg(progressive=True)):
        assert notes_of(data + b"more") == {"trailing": "4 bytes after the image are dropped"}
    assert notes_of(camera_jpeg() + b"\0\0\0!")["trailing"].startswith("1 byte after")


def test_a_large_file_is_inspected_to_its_end() -> None:
    large = Image.effect_noise((1500, 1200), 100)
    data = saved("JPEG", large, quality=100)
    assert len(data) > 1 << 20
    assert notes_of(data) == {}
    assert notes_of(data + b"x" * 3_000_000) == {
        "trailing": "3,000,000 bytes after the image are dropped"
    }


def test_motion_photos() -> None:
    assert notes_of(camera_jpeg() + VIDEO) == {"video": "its video is dropped"}
    assert notes_of(camera_jpeg() + b"\0\0own bytes" + VIDEO) == {
        "trailing": "9 bytes after the image are dropped",
        "video": "its video is dropped",
    }


def test_data_that_samsung_phones_write() -> None:
    entries = [b"\0\0\x30\x0a" + struct.pack("<I", 16) + b"MotionPhoto_Data" + VIDEO]
    entries += [b"\0\0\x01\x0a" + struct.pack("<I", 14) + b"Image_UTC_Data" + b"1700000000000"]
    places = [len(entries[0]) + len(entries[1]), len(entries[1])]
    listed = b"SEFH" + struct.pack("<II", 106, 2)
    for entry, place in zip(entries, places, strict=True):
        listed += entry[:4] + struct.pack("<II", place, len(entry))
    trailer = b"".join(entries) + listed + struct.pack("<I", len(listed)) + b"SEFT"
    assert notes_of(camera_jpeg() + trailer) == {
        "video": "its video is dropped",
        "trailing": "35 bytes after the image are dropped: Image_UTC_Data",
    }


def test_further_pictures() -> None:
    assert notes_of(pictures(photo(), photo(1))) == {"frames": "1 further picture is dropped"}
    three = pictures(photo(), photo(1), photo(2))
    assert notes_of(three) == {"frames": "2 further pictures are dropped"}
    assert notes_of(saved("JPEG") + saved("JPEG")) == {"frames": "1 further picture is dropped"}


def test_a_list_of_pictures_that_are_gone_loses_nothing() -> None:
    first = pictures(photo(), photo(1))
    end = first.index(b"\xff\xd9") + 2
    assert notes_of(first[:end]) == {}


def test_previews_of_cameras() -> None:
    """Cameras list a smaller copy as another picture, with a special kind."""
    data = bytearray(pictures(photo(), photo(1)))
    kinds = data.index(struct.pack("<I", 0x030000), data.index(b"MPF\0") + 16)
    data[kinds + 16 : kinds + 20] = struct.pack("<I", 0x010002)
    assert notes_of(bytes(data)) == {"thumbnail": "a smaller copy of the picture is dropped"}


@pytest.mark.parametrize(
    "xmp",
    [
        b'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"',
        b'apdi:AuxiliaryImageType="urn:com:apple:photo:2020:aux:hdrgainmap"',
    ],
)
def test_gain_maps(xmp: bytes) -> None:
    both = pictures(photo(), with_xmp(photo(1), XMP % xmp))
    assert set(notes_of(both)) == {"gain-map"}


def test_gain_maps_of_ultra_hdr() -> None:
    """The primary picture's XMP announces the gain map. Pillow does not count another picture."""
    main = XMP % (
        b'hdrgm:Version="1.0"><Container:Directory>'
        b'<Container:Item Item:Semantic="Primary"/><Container:Item Item:Semantic="GainMap"/>'
        b'<Container:Item Item:Semantic="MotionPhoto"/></Container:Directory'
    )
    data = saved("JPEG", xmp=main) + saved("JPEG", photo(1))
    assert set(notes_of(data)) == {"gain-map"}
    assert set(notes_of(data + VIDEO)) == {"gain-map", "video"}
    iso = segment(0xE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0")
    assert set(notes_of(with_segments(iso))) == {"gain-map"}


def test_depth_maps() -> None:
    apple = b'apdi:AuxiliaryImageType="kCGImageAuxiliaryDataTypeDisparity"'
    assert set(notes_of(pictures(photo(), with_xmp(photo(1), XMP % apple)))) == {"depth-map"}
    google = saved("JPEG", xmp=XMP % b'GDepth:Format="RangeInverse" xmpNote:HasExtendedXMP="0"')
    extended = segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 40 + b"<x/>")
    assert set(notes_of(with_segments(extended, data=google))) == {"depth-map", "xmp"}
    matte = b'apdi:AuxiliaryImageType="urn:com:apple:photo:2018:aux:portraiteffectsmatte"'
    assert set(notes_of(pictures(photo(), with_xmp(photo(1), XMP % matte)))) == {"auxiliary"}


def test_xmp_that_is_not_kept() -> None:
    extended = segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 40 + b"<x/>")
    assert notes_of(with_segments(extended)) == {"xmp": "XMP is dropped: its extended part"}
    second = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>")
    twice = with_segments(second, data=saved("JPEG", xmp=XMP % b""))
    assert notes_of(twice) == {"xmp": "XMP is dropped: a second packet"}


def test_photoshop_s_data() -> None:
    iptc = resource(0x0404, b"\x1c\x02\x05\0\x05Title")
    digest = resource(0x0425, b"d" * 16)
    assert notes_of(photoshop(iptc)) == {"iptc": "IPTC data is dropped"}
    assert notes_of(photoshop(iptc, digest)) == {
        "iptc": "IPTC data is dropped",
        "photoshop": "Photoshop data is dropped: digest of the IPTC data",
    }
    path = resource(0x07D1, b"p" * 27)
    assert notes_of(photoshop(path, resource(0x2710, b"x"), digest))["photoshop"] == (
        "Photoshop data is dropped: clipping path, settings, digest of the IPTC data"
    )
    assert set(notes_of(photoshop())) == {"photoshop"}
    assert set(notes_of(photoshop(b"no resource"))) == {"photoshop"}


def test_photoshop_s_data_in_two_segments() -> None:
    whole = resource(0x0404, b"\x1c\x02\x78\x03\xe8" + b"t" * 1000) + resource(0x07D1, b"p" * 26)
    parts = [segment(0xED, b"Photoshop 3.0\0" + part) for part in (whole[:500], whole[500:])]
    assert set(notes_of(with_segments(*parts))) == {"iptc", "photoshop"}


def test_comments() -> None:
    assert notes_of(saved("JPEG", comment=b"Hello")) == {
        "text": "text stored with the picture is dropped: a comment"
    }
    assert notes_of(with_segments(segment(0xFE, b""))) == {}


def test_content_credentials() -> None:
    box = struct.pack(">2sHII", b"JP", 1, 1, 20) + b"jumb" + b"\0\0\0\x0cjumdc2pa"
    assert set(notes_of(with_segments(segment(0xEB, box)))) == {"credentials"}
    wide = box.replace(b"jumb", b"RESI")  # JPEG XT: data for more than 8 bits
    assert notes_of(with_segments(segment(0xEB, wide))) == {
        "metadata": "other data is dropped: APP11 (JP)"
    }


def test_thumbnails_of_jfif() -> None:
    extension = segment(0xE0, b"JFXX\0\x10" + saved("JPEG", photo(1, (8, 8))))
    assert set(notes_of(with_segments(extension))) == {"thumbnail"}
    plain = saved("JPEG")
    assert plain[6:10] == b"JFIF"
    small = segment(0xE0, plain[6:18] + b"\x01\x01" + b"rgb")
    assert set(notes_of(plain[:2] + small + plain[20:])) == {"thumbnail"}


def test_unknown_segments() -> None:
    data = with_segments(segment(0xEC, b"Ducky\0\x01\0\x04"), segment(0xE3, b"\x01\x02"))
    assert notes_of(data) == {"metadata": "other data is dropped: APP12 (Ducky), APP3"}
    many = with_segments(*(segment(0xE1, b"FLIR%d\0" % number) for number in range(9)))
    assert notes_of(many)["metadata"].endswith("APP1 (FLIR4), and 4 more")


def test_names_cannot_harm_a_terminal() -> None:
    texts = notes_of(with_segments(segment(0xE5, b"ab\x1b[31m" + b"c" * 20)))
    assert texts == {"metadata": "other data is dropped: APP5 (ab)"}


def test_an_incomplete_profile() -> None:
    part = segment(0xE2, b"ICC_PROFILE\0\x01\x02" + PROFILE[:300])
    assert set(notes_of(with_segments(part))) == {"colour"}


def test_metadata_between_scans_is_not_kept() -> None:
    """Pillow reads metadata only up to the first scan."""
    data = saved("JPEG", progressive=True)
    scan = data.rindex(b"\xff\xda")
    behind = data[:scan] + segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\0") + data[scan:]
    assert notes_of(behind) == {"metadata": "other data is dropped: APP1 (Exif)"}


def test_where_a_jpeg_ends() -> None:
    """A JPEG ends at its end marker, or where the next one starts. A truncated one has no end."""
    whole = camera_jpeg(progressive=True)
    assert [part.end for part in segments(whole) if part.marker == END] == [len(whole)]
    assert [part.end for part in segments(b"12" + whole, 2) if part.marker == END] == [
        len(whole) + 2
    ]
    cut = whole[:-2]
    assert [part for part in segments(cut) if part.marker == END] == []
    assert [part.end for part in segments(cut + whole) if part.marker == END] == [len(cut)]


def test_damage_in_a_scan_is_not_taken_for_the_end() -> None:
    """The damaged bytes look like a marker that cannot be inside a scan."""
    whole = saved("JPEG")
    scan = whole.rindex(b"\xff\xda") + 30
    damaged = whole[:scan] + b"\xff\x3a\xff\x01" + whole[scan:]
    assert [part.end for part in segments(damaged) if part.marker == END] == [len(damaged)]


def test_far_more_segments_than_real_files_have() -> None:
    data = with_segments(segment(0xDD, b"\0\0") * 10_001)
    with pytest.raises(TooManySteps):
        list(segments(data))
    assert inspected(data, opened(data)) == [
        Note("metadata", "other data is dropped: what follows a damaged part")
    ]
