"""Samples of every width and kind: what becomes black, white and transparent, and the notes."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from support import make_pixels

import ticodec
from ticodec.errors import BadInputError
from ticodec.picture import Picture
from ticodec.reading.read import read_picture, to_picture
from ticodec.reading.samples import is_grey

#: All levels 0 … 255.
LEVELS = np.arange(16 * 32, dtype=np.uint16).reshape(16, 32) // 2
GREY = make_pixels(20, 30)[..., 0]


def tiff(samples: np.ndarray, **options: Any) -> bytes:
    """A TIFF written by tifffile."""
    out = io.BytesIO()
    tifffile.imwrite(out, samples, **({"photometric": "minisblack"} | options))
    return out.getvalue()


def file_of(image: Image.Image, format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def png(depth: int, colours: int, rows: np.ndarray, size: tuple[int, int], key: bytes) -> bytes:
    """A PNG with a transparent colour. `rows` is (height, bytes per row) uint8."""

    def chunk(name: bytes, payload: bytes) -> bytes:
        return (
            struct.pack(">I", len(payload))
            + name
            + payload
            + struct.pack(">I", zlib.crc32(name + payload))
        )

    header = struct.pack(">2I5B", *size, depth, colours, 0, 0, 0)
    pixels = zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes())
    parts = {b"IHDR": header, b"tRNS": key, b"IDAT": pixels, b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts.items())


def tiff_of_12_bits(samples: np.ndarray) -> bytes:
    """A TIFF with two samples in three bytes, which no encoder here writes."""
    first, second = samples.ravel()[::2].astype(int), samples.ravel()[1::2].astype(int)
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], -1)
    height, width = samples.shape
    tags = {256: width, 257: height, 258: 12, 259: 1, 262: 1, 277: 1, 278: height}
    body = packed.astype(np.uint8).tobytes()
    tags |= {273: 8, 279: len(body)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory


def said(picture: Picture, kind: str) -> str:
    """The text of the note of this kind, which must be about a loss."""
    (note,) = (note for note in picture.notes if note.kind == kind)
    assert note.lost
    return note.text


def assert_levels(picture: Picture, levels: np.ndarray, off: int = 0) -> None:
    assert picture.grey
    assert is_grey(picture.pixels)
    assert np.abs(picture.pixels[..., 0].astype(int) - levels.astype(int)).max() <= off


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bits(order: str) -> None:
    samples = LEVELS * 257
    for photometric, wanted in (("minisblack", LEVELS), ("miniswhite", 255 - LEVELS)):
        if (order, photometric) == (">", "miniswhite"):
            continue  # Pillow does not open these
        data = tiff(samples.astype(f"{order}u2"), photometric=photometric, byteorder=order)
        picture = read_picture(data)
        assert_levels(picture, wanted)
        assert said(picture, "bits") == "16 bits per channel are reduced to 8"
    for mode in ("I;16", "I;16B"):
        in_memory = to_picture(Image.fromarray(samples).convert("I").convert(mode))
        assert_levels(in_memory, LEVELS)
        assert said(in_memory, "bits") == "16 bits per channel are reduced to 8"
    for format in ("PNG", "PPM", "JPEG2000"):
        picture = read_picture(file_of(Image.fromarray(samples), format))
        assert_levels(picture, LEVELS)
        assert said(picture, "bits") == "16 bits per channel are reduced to 8"


def test_16_bits_are_rounded() -> None:
    picture = to_picture(Image.fromarray(np.array([[128, 129, 65406, 65407]], np.uint16)))
    assert picture.pixels[0, :, 0].tolist() == [0, 1, 254, 255]


def test_12_bits() -> None:
    picture = read_picture(tiff_of_12_bits(LEVELS.astype(int) * 4095 // 255))
    assert_levels(picture, LEVELS, off=1)
    assert picture.pixels.max() == 255
    assert said(picture, "bits") == "12 bits per channel are reduced to 8"


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_signed_integers_have_the_range_of_their_type(bits: int) -> None:
    top = 2 ** (bits - 1) - 1
    kind = f"i{bits // 8}"
    upper = (LEVELS / 255 * top).round().clip(0, top).astype(kind)
    picture = read_picture(tiff(upper))
    assert_levels(picture, LEVELS, off=1)
    assert f"{top:,} is white" in said(picture, "range")
    both = (LEVELS / 255 * (2 * top + 1) - top - 1).round().clip(-top - 1, top).astype(kind)
    picture = read_picture(tiff(both))
    assert_levels(picture, LEVELS, off=1)
    assert f"{-top - 1:,} is black" in said(picture, "range")


@pytest.mark.parametrize("kind", ["u4", "i4"])
@pytest.mark.parametrize("white", [255, 65535, None])
def test_32_bits_use_the_smallest_range_that_holds_them(kind: str, white: int | None) -> None:
    white = white or np.iinfo(kind).max
    samples = (LEVELS / 255 * white).round().clip(0, white).astype(kind)
    picture = read_picture(tiff(samples))
    assert_levels(picture, LEVELS, off=1)
    expected = f"32-bit integers are reduced to 8 bits: 0 is black, {white:,} is white"
    assert said(picture, "range") == expected


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        ((LEVELS * 10).astype("u4"), "32-bit integer samples from 0 to 2,550"),
        ((LEVELS.astype("i4") * 1000), "32-bit integer samples from 0 to 255,000"),
        (LEVELS.astype("i2") - 100, "16-bit integer samples from -100 to 155"),
        (LEVELS.astype("i4") - 100, "32-bit integer samples from -100 to 155"),
    ],
)
def test_integers_that_would_lose_all_contrast_are_refused(samples: np.ndarray, words: str) -> None:
    with pytest.raises(BadInputError, match="scale them to 0 … 65,535 first") as error:
        read_picture(tiff(samples))
    assert words in str(error.value)


def test_wide_integers_in_memory() -> None:
    assert_levels(to_picture(Image.fromarray(LEVELS.astype(np.uint8)).convert("I")), LEVELS)
    assert_levels(to_picture(Image.fromarray(LEVELS * 257).convert("I")), LEVELS)


def test_black_is_black() -> None:
    for kind in ("u2", "u4", "i2", "i4", "f4"):
        assert_levels(read_picture(tiff(np.zeros((9, 9), kind))), np.zeros((9, 9)))


def test_samples_of_a_fits_file() -> None:
    """They are signed, although Pillow reports other types."""
    cards = {"SIMPLE": "T", "BITPIX": 16, "NAXIS": 2, "NAXIS1": 32, "NAXIS2": 16}
    header = "".join(f"{name:8}= {value!s:>20}".ljust(80) for name, value in cards.items())
    samples = (LEVELS.astype(int) * 257 - 32768).astype(">i2")
    picture = read_picture((header + "END".ljust(80)).ljust(2880).encode() + samples.tobytes())
    assert_levels(picture, LEVELS[::-1])


@pytest.mark.parametrize("white", [1, 255])
def test_floats(white: int) -> None:
    samples = (LEVELS / 255 * white).astype(np.float32)
    expected = f"float samples are reduced to 8 bits: 0 is black, {white} is white"
    for picture in (
        read_picture(tiff(samples)),
        read_picture(tiff(samples.astype(">f4"), byteorder=">")),
        to_picture(Image.fromarray(samples)),
    ):
        assert_levels(picture, LEVELS)
        assert said(picture, "range") == expected
    assert_levels(read_picture(tiff(samples, photometric="miniswhite")), 255 - LEVELS)
    assert_levels(read_picture(file_of(Image.fromarray(samples), "PPM")), LEVELS)


def test_floats_a_little_outside_are_clipped() -> None:
    samples = (LEVELS / 255 * 1.1 - 0.05).astype(np.float32)
    picture = read_picture(tiff(samples))
    assert_levels(picture, (samples * 255).round().clip(0, 255))
    assert said(picture, "range").endswith("1 is white, samples outside are clipped")


def test_floats_that_are_nan_are_black() -> None:
    samples = (LEVELS / 255).astype(np.float32)
    samples[0], samples[1] = np.nan, np.inf
    picture = read_picture(tiff(samples))
    assert (picture.pixels[:2] == 0).all()
    assert_levels(to_picture(Image.fromarray(samples[2:])), LEVELS[2:])
    assert said(picture, "range").endswith("samples that are not numbers become black")
    with pytest.raises(BadInputError, match="none of its float samples is a number"):
        read_picture(tiff(np.full((9, 9), np.nan, np.float32)))


@pytest.mark.parametrize("span", [(0, 4), (-1, 1), (0, 65535), (-1e9, 1e9), (10, 100)])
def test_floats_of_another_range_are_refused(span: tuple[float, float]) -> None:
    samples = np.linspace(*span, 16 * 32, dtype=np.float32).reshape(16, 32)
    with pytest.raises(BadInputError, match=r"^float samples from .* scale them to 0 … 1 first"):
        read_picture(tiff(samples))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_fewer_than_8_bits(bits: int) -> None:
    top = 2**bits - 1
    levels = GREY.astype(int) * top // 255 * 255 // top
    image = Image.fromarray(levels.astype(np.uint8))
    if bits == 1:
        for photometric in ("minisblack", "miniswhite"):
            wanted = levels if photometric == "minisblack" else 255 - levels
            assert_levels(read_picture(tiff(levels > 0, photometric=photometric)), wanted)
        assert_levels(read_picture(file_of(image.convert("1"), "PNG")), levels)
        return
    paletted = file_of(image.quantize(top + 1), "PNG", bits=bits)
    assert_levels(read_picture(paletted), levels, off=1)


def test_grey_of_8_bits_where_white_is_zero() -> None:
    assert_levels(read_picture(tiff(255 - GREY, photometric="miniswhite")), GREY)


# -- alpha --------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_grey_of_a_png(bits: int) -> None:
    """The key is compared with the file's original samples."""
    top = 2**bits - 1
    samples = (GREY[:, :24].astype(int) * top // 255).astype(">u2")
    key = int(samples[3, 4])
    planes = np.unpackbits(samples.view(np.uint8), axis=1).reshape(20, 24, 16)[..., 16 - bits :]
    rows = np.packbits(planes.reshape(20, -1), axis=1)
    picture = read_picture(png(bits, 0, rows, (24, 20), struct.pack(">H", key)))
    assert_levels(picture, samples.astype(int) * 255 / top, off=1)
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha, np.where(samples == key, 0, 255))


def test_the_transparent_colour_of_a_png_of_16_bits() -> None:
    """Colours that differ only in the lower byte are not transparent."""
    samples = np.full((8, 8, 3), (1000, 2000, 3000), ">u2")
    samples[2] = (1000, 2001, 3000)
    samples[5, 3:] = (60000, 2000, 3000)
    rows = samples.reshape(8, -1).view(np.uint8)
    picture = read_picture(png(16, 2, rows, (8, 8), struct.pack(">3H", 1000, 2000, 3000)))
    wanted = np.where((samples == (1000, 2000, 3000)).all(-1), 0, 255)
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha, wanted)
    assert picture.pixels[5, 5].tolist() == [234, 7, 11]


def test_the_transparent_colour_of_a_png_of_8_bits() -> None:
    pixels = make_pixels(20, 30)
    key = tuple(pixels[4, 5].tolist())
    picture = read_picture(file_of(Image.fromarray(pixels), "PNG", transparency=key))
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha, np.where((pixels == key).all(-1), 0, 255))
    assert np.array_equal(picture.pixels, pixels)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("mode", ["LA", "La", "PA", "RGBA", "RGBa", "P"])
def test_alpha_of_every_mode(mode: str) -> None:
    pixels = make_pixels(20, 30)
    alpha = make_pixels(20, 30, 5)[..., 0] | 128
    image = Image.fromarray(pixels)
    if mode in ("LA", "La"):
        image = image.convert("L")
    if mode in ("P", "PA"):
        image = image.quantize(200)
    pixels = np.asarray(image.convert("RGB"))
    if mode == "P":
        table = bytes(255 - index for index in range(256))
        alpha = 255 - np.asarray(image)
        image.info["transparency"] = table
    else:
        image.putalpha(Image.fromarray(alpha))
        image = image.convert(mode)
    assert image.mode == mode
    picture = to_picture(image)
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha, alpha)
    assert np.abs(picture.pixels.astype(int) - pixels).max() <= (2 if mode in ("La", "RGBa") else 0)
    assert picture.grey == (mode in ("LA", "La"))


def test_16_bit_grey_with_alpha_is_grey() -> None:
    """Pillow opens such files as 8-bit RGBA or LA."""
    samples = np.stack([LEVELS * 257, (255 - LEVELS) * 257], -1).astype(">u2")
    rows = samples.reshape(16, -1).view(np.uint8)
    picture = read_picture(png(16, 4, rows, (32, 16), b""))
    assert_levels(picture, LEVELS)
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha, 255 - LEVELS)
    decoded = ticodec.decode(ticodec.encode(picture, model="tiny"))
    assert decoded.mode == "LA"


# -- grey ---------------------------------------------------------------------------


def test_is_grey_looks_at_every_pixel() -> None:
    pixels = np.repeat(make_pixels(200, 30)[..., :1], 3, axis=2)
    assert is_grey(pixels)
    for place in ((0, 0, 0), (70, 3, 1), (199, 29, 2)):
        other = pixels.copy()
        other[place] ^= 1
        assert not is_grey(other)
        assert is_grey(other, tolerance=1)
        other[place] ^= 2
        assert not is_grey(other, tolerance=1)
