"""Notes about PNG, TIFF, GIF, WebP and rarer files that have more than one 8-bit picture."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
import tifffile
from inspecting import notes_of, photo, saved
from PIL import Image, ImageCms, PngImagePlugin
from support import make_pixels

from ticodec.reading.inspection import inspected

FRAMES = [photo(seed) for seed in range(1, 4)]
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
VIDEO = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom\0\0\x10\x00mdat" + b"\x07" * 4088


def png(*chunks: tuple[bytes, bytes], **options: object) -> bytes:
    """A PNG with additional chunks before its pixels."""
    data = saved("PNG", **options)
    at = data.index(b"IDAT") - 4
    return data[:at] + b"".join(chunk(*one) for one in chunks) + data[at:]


def chunk(name: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + check


def tiff(pixels: np.ndarray, **options: object) -> bytes:
    file = BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def test_plain_files_lose_nothing() -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", "<x:xmpmeta/>")
    exif = Image.Exif()
    exif[271] = "Camera"
    kept = {"icc_profile": PROFILE, "exif": exif}
    assert notes_of(saved("PNG", pnginfo=texts, dpi=(300, 300), **kept)) == {}
    assert notes_of(saved("WEBP", xmp=b"<x:xmpmeta/>", **kept)) == {}
    assert notes_of(saved("WEBP", photo().convert("RGBA"), lossless=True)) == {}
    assert notes_of(saved("TIFF", compression="tiff_lzw", **kept)) == {}
    assert notes_of(saved("TIFF", photo().convert("CMYK"))) == {}
    assert notes_of(saved("TIFF", photo().convert("RGBA"))) == {}
    assert notes_of(saved("GIF")) == {}
    assert notes_of(saved("BMP")) == {}
    assert notes_of(saved("PPM")) == {}
    assert notes_of(saved("PPM", photo().convert("1"))) == {}
    assert notes_of(saved("JPEG2000")) == {}
    assert notes_of(saved("JPEG2000", photo().convert("RGBA"))) == {}


@pytest.mark.parametrize("format", ["PNG", "GIF", "WEBP"])
def test_frames(format: str) -> None:
    data = saved(format, save_all=True, append_images=FRAMES, duration=100)
    assert notes_of(data) == {"frames": "3 further frames are dropped"}


def test_frames_beside_a_png_s_own_picture() -> None:
    data = saved("PNG", save_all=True, append_images=FRAMES, default_image=True)
    assert notes_of(data) == {"frames": "3 further frames are dropped"}


@pytest.mark.parametrize("format", ["PNG", "GIF", "WEBP", "JPEG2000", "PPM", "BMP", "TIFF"])
def test_bytes_after_the_end(format: str) -> None:
    data = saved(format)
    assert notes_of(data + b"hidden bytes") == {"trailing": "12 bytes after the image are dropped"}
    assert notes_of(data + b"\0" * 12) == {}
    if format != "JPEG2000":  # Pillow cannot read such a file
        assert set(notes_of(data + VIDEO)) == {"video"}


def test_texts_of_a_png() -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Title", "a photo")
    texts.add_text("parameters", "steps: 20" * 100, zip=True)
    texts.add_itxt("Author", "Ärger", lang="de")
    data = saved("PNG", pnginfo=texts)
    assert notes_of(data) == {
        "text": "text stored with the picture is dropped: Title, parameters, Author"
    }
    behind = data.index(b"IEND") - 4
    data = data[:behind] + chunk(b"tEXt", b"Late\0behind the pixels") + data[behind:]
    assert notes_of(data)["text"].endswith(", Late")


def test_texts_of_a_png_cannot_harm_a_terminal() -> None:
    data = png((b"tEXt", b"\x1b[31mred" + b"x" * 72 + b"\0value"))
    assert (
        notes_of(data)["text"]
        == "text stored with the picture is dropped: \\x1b[31mred" + "x" * 28 + "…"
    )


def test_profiles_that_imagemagick_keeps_in_texts() -> None:
    kinds = {"iptc": "iptc", "8bim": "photoshop", "APP1": "exif", "icc": "colour"}
    for name, kind in kinds.items():
        text = f"Raw profile type {name}\0".encode()
        packed = text + b"\0" + zlib.compress(b"\niptc\n       4\n1c020500\n")
        assert set(notes_of(png((b"zTXt", packed)))) == {kind}
    for name, kind in {"xmp": "xmp", "exif": "exif"}.items():
        damaged = f"Raw profile type {name}\0\0".encode() + zlib.compress(b"\nxmp\n 4\n1c0")
        assert set(notes_of(png((b"zTXt", damaged)))) == {kind}


def test_xmp_of_a_png_that_cannot_be_read() -> None:
    damaged = b"XML:com.adobe.xmp\0\1\0\0\0not deflated"
    assert set(notes_of(png((b"iTXt", damaged)))) == {"xmp"}


def test_chunks_of_a_png() -> None:
    time = (b"tIME", struct.pack(">H5B", 2026, 1, 2, 3, 4, 5))
    light = (b"cLLI", struct.pack(">II", 10_000_000, 1_000_000))
    assert notes_of(png(time, light)) == {"metadata": "other data is dropped: tIME, cLLI"}
    harmless = [(b"bKGD", b"\0" * 6), (b"sBIT", b"\x08" * 3), (b"oFFs", b"\0" * 9)]
    assert notes_of(png(*harmless, (b"pHYs", struct.pack(">IIB", 2835, 2835, 1)))) == {}
    colours = [(b"gAMA", struct.pack(">I", 45455)), (b"sRGB", b"\0"), (b"cICP", b"\1\x0d\0\1")]
    assert notes_of(png(*colours)) == {}
    assert set(notes_of(png((b"caBX", b"\0\0\0\x08jumb")))) == {"credentials"}


def test_16_bits() -> None:
    bits = {"bits": "16 bits per channel are reduced to 8"}
    grey = Image.fromarray(make_pixels(8, 8)[..., 0].astype(np.uint16) * 257)
    assert notes_of(saved("PNG", grey)) == bits
    assert notes_of(saved("TIFF", grey)) == bits
    assert notes_of(saved("PPM", grey)) == bits
    assert notes_of(saved("JPEG2000", grey)) == bits
    assert notes_of(saved("SGI", photo(), bpc=2)) == bits
    wide = make_pixels(8, 9).astype(np.uint16) * 257
    assert notes_of(tiff(wide, photometric="rgb")) == bits
    assert notes_of(b"P6 9 8\n65535\n" + wide.astype(">u2").tobytes()) == bits
    rows = b"".join(b"\0" + row.tobytes() for row in wide.astype(">u2"))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 8, 16, 2, 0, 0, 0))
    body = header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert notes_of(b"\x89PNG\r\n\x1a\n" + body) == bits


def test_more_bits_of_a_tiff() -> None:
    float32 = notes_of(tiff(make_pixels(8, 8)[..., 0].astype(np.float32) / 255))
    assert float32 == {"bits": "32 bits per channel are reduced to 8"}
    assert set(notes_of(tiff(make_pixels(8, 8)[..., 0].astype(np.int32)))) == {"bits"}


@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}])
def test_pages_of_a_tiff(options: dict[str, object]) -> None:
    pages = np.stack([make_pixels(32, 48, seed) for seed in range(4)])
    data = tiff(pages, photometric="rgb", metadata=None, **options)
    assert notes_of(data) == {"pages": "3 further pages are dropped"}
    two = tiff(pages[:2], photometric="rgb", metadata=None, **options)
    assert notes_of(two) == {"pages": "1 further page is dropped"}
    assert notes_of(tiff(pages[0], photometric="rgb", **options)) == {}


def test_smaller_copies_in_a_tiff() -> None:
    file = BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(make_pixels(64, 64), photometric="rgb", subifds=1, metadata=None)
        writer.write(make_pixels(32, 32), photometric="rgb", subfiletype=1, metadata=None)
        writer.write(make_pixels(16, 16), photometric="rgb", subfiletype=1, metadata=None)
    assert notes_of(file.getvalue()) == {"thumbnail": "a smaller copy of the picture is dropped"}
    file = BytesIO()
    with tifffile.TiffWriter(file) as writer:
        writer.write(make_pixels(64, 64), photometric="rgb", subifds=2, metadata=None)
        writer.write(make_pixels(64, 64), photometric="rgb", metadata=None)
        writer.write(make_pixels(64, 64), photometric="rgb", metadata=None)
    assert set(notes_of(file.getvalue())) == {"auxiliary"}


def test_channels_of_a_tiff() -> None:
    five = np.concatenate([make_pixels(32, 32)] * 2, axis=2)
    alpha = tiff(five[..., :4], photometric="rgb", extrasamples=["unassalpha"])
    assert notes_of(alpha) == {}
    data = tiff(five[..., :4], photometric="rgb", extrasamples=["unspecified"])
    assert notes_of(data) == {"channels": "1 extra channel is dropped"}
    two = ["unassalpha", "unspecified"]
    assert set(notes_of(tiff(five[..., :5], photometric="rgb", extrasamples=two))) == {"channels"}


def test_metadata_of_a_tiff() -> None:
    path = b"8BIM" + struct.pack(">HHI", 0x07D1, 0, 4) + b"path"
    tags = [(33723, 7, 9, b"\x1c\x02\x05\0\x05Title"[:9], True), (34377, 7, len(path), path, True)]
    data = tiff(make_pixels(8, 8), photometric="rgb", metadata=None, extratags=tags)
    assert set(notes_of(data)) == {"photoshop"}  # IPTC is kept as a tag of the EXIF
    tags = [(37724, 7, 8, b"Adobe Ph", True), (52545, 7, 8, b"\0\0\0\x08jumb", True)]
    data = tiff(make_pixels(8, 8), photometric="rgb", metadata=None, extratags=tags)
    assert notes_of(data)["photoshop"] == "Photoshop data is dropped: layers"
    assert "credentials" in notes_of(data)


def test_extensions_of_a_gif() -> None:
    assert notes_of(saved("GIF", comment=b"Hello")) == {
        "text": "text stored with the picture is dropped: a comment"
    }
    plain = saved("GIF")
    end = plain.rindex(b";")
    assert notes_of(plain[:end] + b"!\xfe\0!\xff\x0bImageMagick\x0dgamma=0.45455\0;") == {}
    own = b"!\xff\x0bMYAPP___1.0\x03abc\0"
    assert notes_of(plain[:end] + own + b";") == {"metadata": "other data is dropped: MYAPP___1.0"}
    xmp = b"!\xff\x0bXMP DataXMP<x/>\x01" + bytes(range(255, -1, -1)) + b"\0"
    assert notes_of(plain[:end] + xmp + b";") == {}
    in_parts = b"!\xff\x0bXMP DataXMP\x04<x/>\0"  # readers do not look for XMP in this form
    assert set(notes_of(plain[:end] + in_parts + b";")) == {"xmp"}


def test_chunks_of_a_webp() -> None:
    data = saved("WEBP", icc_profile=PROFILE)
    more = data[12:] + b"C2PA\x03\0\0\0abc\0" + b"mine\x01\0\0\0a\0"
    data = b"RIFF" + struct.pack("<I", 4 + len(more)) + b"WEBP" + more
    assert set(notes_of(data)) == {"credentials", "metadata"}


def test_boxes_of_a_jpeg_2000() -> None:
    data = saved("JPEG2000")
    assert notes_of(data + b"\0\0\0\x0cxml <x/>")["metadata"] == "other data is dropped: xml"
    xmp = bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + b"<x/>"
    data += struct.pack(">I", 8 + len(xmp)) + b"uuid" + xmp
    assert set(notes_of(data)) == {"xmp"}
    assert notes_of(saved("JPEG2000", comment="Hello")) == {
        "text": "text stored with the picture is dropped: a comment"
    }
    raw = saved("JPEG2000", no_jp2=True, comment="Hello")
    assert set(notes_of(raw)) == {"text"}


def test_comments_of_a_ppm() -> None:
    for comment in (b"# by hand", b"# " + b"by hand " * 1000):
        data = b"P5\n" + comment + b"\n2 2\n255\n1234"
        assert notes_of(data) == {"text": "text stored with the picture is dropped: a comment"}


def test_colours_of_a_bmp() -> None:
    plain = saved("BMP")
    pixels = plain[54:]
    header = bytearray(124)
    header[:40] = struct.pack("<I", 124) + plain[18:54]

    def bmp(space: bytes, behind: bytes = b"") -> bytes:
        header[56:60] = space
        struct.pack_into("<II", header, 112, 124 + len(pixels), 8 if space == b"DEBM" else 0)
        start = struct.pack("<2sIHHI", b"BM", 138 + len(pixels) + len(behind), 0, 0, 138)
        return start + bytes(header) + pixels + behind

    assert notes_of(bmp(b"BGRs")) == {}
    assert notes_of(bmp(bytes(4))) == {}
    assert set(notes_of(bmp(b"DEBM", b"profile."))) == {"colour"}
    assert set(notes_of(bmp(b"DEBM", b"profile. more"))) == {"colour", "trailing"}
    header[60:64] = b"\1\2\3\4"
    assert set(notes_of(bmp(bytes(4)))) == {"metadata"}


def test_sizes_of_icons() -> None:
    sizes = [(16, 16), (32, 32), (48, 48)]
    square = photo(size=(64, 64))
    assert notes_of(saved("ICO", square, sizes=sizes)) == {
        "frames": "2 further pictures are dropped"
    }
    assert notes_of(saved("ICO", square, sizes=sizes[:1])) == {}
    assert "frames" in notes_of(saved("ICNS", square))


def psd(layers: int, resources: bytes = b"", channels: int = 3) -> bytes:
    """A Photoshop file of 2×2 pixels with empty layers."""
    header = b"8BPS" + struct.pack(">H6xHIIHH", 1, channels, 2, 2, 8, 3)
    one = struct.pack(">4i", 0, 0, 0, 0) + struct.pack(">H", 0)
    one += b"8BIMnorm" + bytes([255, 0, 0, 0]) + struct.pack(">I", 0)
    info = struct.pack(">h", -layers) + one * layers
    info = struct.pack(">II", len(info) + 4, len(info)) + info if layers else b"\0" * 4
    body = struct.pack(">II", 0, len(resources)) + resources + info + b"\0\0"
    return header + body + b"\x80" * 4 * channels


def test_layers_of_a_psd() -> None:
    assert notes_of(psd(3)) == {"layers": "3 layers are merged into one picture"}
    assert notes_of(psd(0)) == {}
    iptc = b"8BIM" + struct.pack(">HHI", 0x0404, 0, 4) + b"iptc"
    profile = b"8BIM" + struct.pack(">HHI", 0x040F, 0, len(PROFILE)) + PROFILE
    assert set(notes_of(psd(0, iptc + profile))) == {"iptc"}
    assert notes_of(psd(0, channels=5)) == {"channels": "2 extra channels are dropped"}


def test_frames_of_formats_that_are_not_inspected() -> None:
    """Pillow counts the frames of these formats."""
    chunks = b"".join(struct.pack("<IHHQ", 16, 0xF1FA, 0, 0) for _ in range(3))
    head = struct.pack("<IHHHHHHH", 128 + len(chunks), 0xAF12, 3, 4, 4, 8, 3, 70)
    data = head.ljust(128, b"\0") + chunks
    image = Image.open(BytesIO(data))
    assert image.format == "FLI"
    notes = inspected(data, image)
    assert [note.kind for note in notes] == ["frames", "metadata"]
    assert notes[0].text == "2 further frames are dropped"


def test_a_format_that_is_not_inspected_is_noted() -> None:
    """Otherwise a rare format would seem to lose nothing, and batch would delete the source."""
    assert "PCX" in notes_of(saved("PCX"))["metadata"]


@pytest.mark.parametrize(("bigtiff", "byteorder"), [(False, "<"), (False, ">"), (True, "<")])
@pytest.mark.parametrize(
    "options", [{}, {"rowsperstrip": 1}, {"tile": (16, 16)}, {"compression": "zlib"}]
)
def test_the_end_of_a_tiff(bigtiff: bool, byteorder: str, options: dict) -> None:
    """The end is after all directories, values, strips and tiles, in any order."""
    pixels = make_pixels(1100, 20)
    data = tiff(pixels, photometric="rgb", bigtiff=bigtiff, byteorder=byteorder, **options)
    assert notes_of(data) == {}
    assert notes_of(data + b"more" * 99) == {"trailing": "396 bytes after the image are dropped"}


def test_a_transfer_function_is_noted() -> None:
    table = np.arange(256, dtype=np.uint16)
    data = tiff(make_pixels(20, 30)[..., 0], extratags=[(301, 3, 256, table, True)])
    assert "transfer function" in notes_of(data)["metadata"]
