"""Colours: profiles that fit the pixels, other information about colours, Lab, CMYK."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import tifffile
from colour_support import (
    GAMMA_18,
    GREY,
    PIXELS,
    chromaticities,
    expected,
    file_of,
    gamma,
    png,
    shown,
)
from PIL import Image, ImageCms, TiffImagePlugin
from support import SRGB_ICC, WIDE_ICC

import ticodec
from ticodec.errors import BadInputError
from ticodec.picture import Picture
from ticodec.reading.colours import conversion, icc, transfer
from ticodec.reading.colours.primaries import BT_709, PRIMARIES
from ticodec.reading.options import Reading
from ticodec.reading.read import read_picture, to_picture

P3, WIDE = PRIMARIES[12], PRIMARIES[9]
STRIP = Reading(strip=True)


def kinds(picture: Picture) -> list[str]:
    return [note.kind for note in picture.notes]


def text(picture: Picture) -> str:
    (note,) = (note for note in picture.notes if note.kind == "colour")
    assert note.lost
    return note.text


def test_a_plain_png_needs_no_profile() -> None:
    for chunks in (
        {},
        {"sRGB": b"\0"},
        {"gAMA": gamma(0.45455)},
        {"gAMA": gamma(0.45455), "cHRM": chromaticities(BT_709)},
        {"cICP": bytes([1, 13, 0, 1])},
        {"cICP": bytes([1, 1, 0, 1])},
        {"sRGB": b"\0", "gAMA": gamma(1.0), "cHRM": chromaticities(WIDE)},  # sRGB comes first
    ):
        picture = read_picture(png(**chunks))
        assert np.array_equal(picture.pixels, PIXELS), chunks
        assert (picture.metadata, picture.notes) == ({}, []), chunks


@pytest.mark.parametrize(
    ("chunks", "primaries", "power"),
    [
        ({"gAMA": gamma(1 / 1.8)}, BT_709, 1.8),
        ({"gAMA": gamma(1 / 1.8), "cHRM": chromaticities(P3)}, P3, 1.8),
        ({"gAMA": gamma(1 / 2.2), "cHRM": chromaticities(WIDE)}, WIDE, 2.2),
        ({"cICP": bytes([12, 4, 0, 1])}, P3, 2.2),
        ({"cICP": bytes([12, 4, 0, 1]), "gAMA": gamma(1.0), "sRGB": b"\0"}, P3, 2.2),
    ],
)
def test_colour_chunks_of_a_png_become_a_profile(
    chunks: dict[str, bytes], primaries: tuple[float, ...], power: float
) -> None:
    picture = read_picture(png(**chunks))
    assert np.array_equal(picture.pixels, PIXELS)
    assert picture.notes == []
    wanted = expected(PIXELS, primaries, power)
    assert np.abs(shown(picture) - PIXELS).max() > 8, "it makes a difference"
    assert np.abs(shown(picture) - wanted).max() < 2
    assert read_picture(png(**chunks)).metadata == picture.metadata, "the same bytes every time"
    # The decoded picture has the profile. Pillow's image of the PNG has all chunks but cICP.
    decoded = ticodec.decode(ticodec.encode(png(**chunks), model="tiny"))
    assert decoded.info["icc_profile"] == picture.metadata["icc"]
    if "cICP" not in chunks:
        again = to_picture(Image.open(io.BytesIO(png(**chunks))))
        assert again.metadata == picture.metadata


def test_linear_samples_get_an_even_curve() -> None:
    for name, primaries in ((1, BT_709), (9, WIDE)):
        chunks = {"gAMA": gamma(1.0), "cHRM": chromaticities(primaries)}
        for data in (png(**chunks), png(cICP=bytes([name, 8, 0, 1]))):
            picture = read_picture(data)
            assert "converted to the curve of sRGB" in text(picture)
            assert picture.pixels.mean() > PIXELS.mean() + 30
            assert np.abs(shown(picture) - expected(PIXELS, primaries, 1.0)).max() < 3
            assert ("icc" in picture.metadata) == (primaries is WIDE)


def test_cicp_overrides_a_profile_and_a_profile_overrides_gama() -> None:
    picture = read_picture(png(icc_profile=SRGB_ICC, cICP=bytes([12, 13, 0, 1])))
    assert "its PNG has a cICP chunk" in text(picture)
    assert np.abs(shown(picture) - expected_srgb_curve(P3)).max() < 2
    both = read_picture(png(icc_profile=WIDE_ICC, gAMA=gamma(1.0), cHRM=chromaticities(WIDE)))
    assert both.metadata == {"icc": WIDE_ICC}
    assert both.notes == []
    unknown = read_picture(png(icc_profile=WIDE_ICC, cICP=bytes([200, 200, 0, 1])))
    assert unknown.metadata == {"icc": WIDE_ICC}
    assert "unknown numbers" in text(unknown)


def expected_srgb_curve(primaries: tuple[float, ...]) -> np.ndarray:
    light = transfer.light(transfer.SRGB)
    assert light is not None
    linear = light[PIXELS] @ icc.to_d50(primaries).T @ np.linalg.inv(icc.to_d50(BT_709)).T
    return transfer.srgb_samples(linear.clip(0, 1)) * 255


@pytest.mark.parametrize("function", [16, 18])
def test_hdr_png(function: int) -> None:
    """The profile has the cICP numbers for HDR screens, and a curve for all others."""
    picture = read_picture(png(cICP=bytes([9, function, 0, 1])))
    assert np.array_equal(picture.pixels, PIXELS)
    profile = icc.read(picture.metadata["icc"])
    assert profile is not None
    assert profile.tags[b"cicp"][8:] == bytes([9, function, 0, 1])
    light = transfer.light(profile.tags[b"rTRC"])
    assert light is not None
    assert (np.diff(light) >= 0).all()
    assert light[0] == 0
    assert light[-1] == 1
    assert "HDR" in text(picture)
    shown(picture)  # LittleCMS accepts it


def test_narrow_range_is_stretched() -> None:
    narrow = (16 + PIXELS / 255 * 219).round().astype(np.uint8)
    picture = read_picture(png(narrow, cICP=bytes([1, 13, 0, 0])))
    assert np.abs(picture.pixels - PIXELS.astype(int)).max() <= 1
    assert "stretched" in text(picture)


@pytest.mark.parametrize("values", [(0.0,) * 8, (0.3, 0.3) * 4, (0.31, 0.33, 0.6, 0.3) * 2])
def test_impossible_primaries_are_no_error(values: tuple[float, ...]) -> None:
    picture = read_picture(png(gAMA=gamma(1 / 1.8), cHRM=chromaticities(values)))
    assert np.array_equal(picture.pixels, PIXELS)
    assert "icc" not in picture.metadata
    assert "primaries" in text(picture)


def test_primaries_of_a_tiff() -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[318], tags[319] = P3[:2], P3[2:]
    picture = read_picture(file_of(Image.fromarray(PIXELS), "TIFF", tiffinfo=tags))
    assert np.abs(shown(picture) - expected(PIXELS, P3, 2.2)).max() < 2
    tags[318], tags[319] = BT_709[:2], BT_709[2:]
    usual = read_picture(file_of(Image.fromarray(PIXELS), "TIFF", tiffinfo=tags))
    assert usual.metadata == {}


def test_colours_of_an_avif() -> None:
    """Pillow decodes the pixels, but does not report the primaries."""
    data = file_of(Image.fromarray(PIXELS), "AVIF", quality=100, subsampling="4:4:4")
    plain = read_picture(data)
    assert plain.metadata == {}
    at = data.index(b"colrnclx") + 8
    wide = read_picture(data[:at] + struct.pack(">HH", 12, 13) + data[at + 4 :])
    assert np.array_equal(wide.pixels, plain.pixels)
    assert np.abs(shown(wide) - expected_srgb_curve(P3)).max() < 12
    assert np.abs(shown(wide) - PIXELS).max() > 12


def test_the_profile_of_a_jpeg_2000() -> None:
    """Pillow does not read this profile."""
    data = file_of(Image.fromarray(PIXELS), "JPEG2000")
    at = data.index(b"colr") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    box = struct.pack(">I4s3B", 11 + len(WIDE_ICC), b"colr", 2, 0, 0) + WIDE_ICC
    header = data.index(b"jp2h") - 4
    whole = int.from_bytes(data[header : header + 4], "big") + len(box) - size
    wide = (
        data[:header] + struct.pack(">I", whole) + data[header + 4 : at] + box + data[at + size :]
    )
    assert read_picture(data).metadata == {}
    assert read_picture(wide).metadata == {"icc": WIDE_ICC}
    assert np.array_equal(read_picture(wide).pixels, PIXELS)


def cmyk_profile() -> bytes:
    """A CMYK profile with a table: white for no ink, and red for any ink."""
    white, red = bytes([255, 128, 128]), bytes([136, 208, 195])  # L, a, b
    table = struct.pack(">4s4xBBBx9i", b"mft1", 4, 3, 2, *np.eye(3, dtype=int).ravel() * 65536)
    table += bytes(range(256)) * 4 + white + red * 15 + bytes(range(256)) * 3
    made = icc._profile(b"CMYK", {b"A2B0": table})
    return made[:12] + b"prtr" + b"CMYK" + b"Lab " + made[24:]


def test_cmyk_is_converted_with_its_profile() -> None:
    ink = Image.new("CMYK", (20, 10), (0, 0, 0, 255))
    ink.paste((0, 0, 0, 0), (0, 0, 10, 10))
    for format in ("JPEG", "TIFF"):
        plain = read_picture(file_of(ink, format))
        assert plain.pixels[5, 2].tolist() == [255, 255, 255]
        assert plain.pixels[5, 17].max() < 6
        assert plain.grey
        assert "CMYK colours are converted to sRGB without a profile" in text(plain)
        picture = read_picture(file_of(ink, format, icc_profile=cmyk_profile()))
        assert picture.metadata == {}
        assert text(picture) == "CMYK colours are converted to sRGB"
        red = picture.pixels[5, 17].astype(int)
        assert red[0] > 200
        assert red[1:].max() < 80
        assert picture.pixels[5, 2].min() > 250
        other = read_picture(file_of(ink, format, icc_profile=WIDE_ICC))
        assert other.metadata == {}
        assert "other pixels (RGB) is dropped" in text(other)
        assert np.array_equal(other.pixels, plain.pixels)


def lab_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


@pytest.mark.parametrize("profile", [None, lab_profile(), WIDE_ICC])
def test_lab_is_converted(profile: bytes | None) -> None:
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    to_lab = ImageCms.buildTransform(srgb, lab, "RGB", "LAB", 1)
    for pixels in (PIXELS, GREY):
        image = to_lab.apply(Image.fromarray(pixels))
        picture = read_picture(file_of(image, "TIFF", icc_profile=profile))
        assert picture.metadata == {}
        assert "Lab colours are converted to sRGB" in text(picture)
        assert np.abs(picture.pixels.astype(int) - pixels).mean() < 1.5
        assert picture.grey == (pixels is GREY)


def test_lab_and_cmyk_without_littlecms(monkeypatch) -> None:
    monkeypatch.setattr(conversion.features, "check", lambda name: False)
    lab = file_of(Image.new("LAB", (9, 9)), "TIFF", icc_profile=lab_profile())
    with pytest.raises(
        BadInputError, match=r"^an image in Lab colours, which this build of Pillow cannot"
    ):
        read_picture(lab)
    cmyk = file_of(Image.new("CMYK", (9, 9)), "TIFF", icc_profile=cmyk_profile())
    assert "without a profile" in text(read_picture(cmyk))
    kept = read_picture(png(icc_profile=WIDE_ICC), reading=STRIP)
    assert kept.metadata == {"icc": WIDE_ICC}
    assert "the ICC profile stays" in text(kept)


@pytest.mark.parametrize(
    "profile",
    [
        b"profile",
        WIDE_ICC[:-9],
        WIDE_ICC[:36] + b"????" + WIDE_ICC[40:],
        WIDE_ICC[:12] + b"link" + WIDE_ICC[16:],
        icc._profile(b"RGB ", {}),
        icc.grey_profile(GAMMA_18),
        cmyk_profile(),
        lab_profile(),
    ],
)
def test_a_profile_of_something_else_is_dropped(profile: bytes) -> None:
    for data in (
        png(icc_profile=profile),
        file_of(Image.fromarray(PIXELS), "JPEG", icc_profile=profile, quality=95),
    ):
        picture = read_picture(data)
        assert picture.metadata == {}
        assert "is dropped" in text(picture)
        assert np.abs(picture.pixels.astype(int) - PIXELS).mean() < 6


def test_gama_counts_if_the_profile_is_damaged() -> None:
    picture = read_picture(png(icc_profile=b"profile", gAMA=gamma(1 / 1.8)))
    assert np.abs(shown(picture) - expected(PIXELS, BT_709, 1.8)).max() < 2


def test_a_sound_profile_is_kept_byte_for_byte() -> None:
    for profile in (SRGB_ICC, WIDE_ICC):
        picture = read_picture(file_of(Image.fromarray(PIXELS), "WEBP", icc_profile=profile))
        assert picture.metadata == {"icc": profile}
        assert picture.notes == []


def test_srgb_is_recognised_by_the_content_of_a_profile() -> None:
    def is_srgb(data: bytes) -> bool:
        profile = icc.read(data)
        assert profile is not None
        return profile.is_srgb

    assert is_srgb(SRGB_ICC)
    table = (np.array(transfer.light(transfer.SRGB, 1024)) * 65535).round().astype(">u2")
    sampled = struct.pack(">4s4xI", b"curv", 1024) + table.tobytes()
    assert is_srgb(icc.rgb_profile(BT_709, sampled) or b"")
    assert is_srgb(icc.grey_profile(transfer.SRGB))
    assert not is_srgb(WIDE_ICC)
    assert not is_srgb(icc.rgb_profile(BT_709, transfer.formula(2.2)) or b"")
    assert not is_srgb(cmyk_profile())


@pytest.mark.parametrize("pixels", [PIXELS, GREY])
@pytest.mark.parametrize("profile", [SRGB_ICC, WIDE_ICC, icc.rgb_profile(P3, GAMMA_18)])
def test_strip_makes_the_colours_srgb(pixels: np.ndarray, profile: bytes) -> None:
    data = png(pixels, icc_profile=profile)
    kept, stripped = read_picture(data), read_picture(data, reading=STRIP)
    assert "icc" not in stripped.metadata
    assert np.abs(shown(kept) - stripped.pixels).max() <= 2
    assert stripped.grey == kept.grey == (pixels is GREY)
    assert "colour" not in kinds(stripped)


def test_tiff_by_tifffile_with_a_profile() -> None:
    out = io.BytesIO()
    tifffile.imwrite(out, PIXELS, photometric="rgb", iccprofile=WIDE_ICC)
    assert read_picture(out.getvalue()).metadata["icc"] == WIDE_ICC


@pytest.mark.filterwarnings("error")
def test_no_damage_to_a_profile_harms_the_photo() -> None:
    random = np.random.default_rng(0)
    sampled = icc.rgb_profile(WIDE, transfer.curve_of(transfer.PQ) or b"", (9, 16))
    for profile in (WIDE_ICC, icc.grey_profile(GAMMA_18), cmyk_profile(), lab_profile(), sampled):
        assert profile is not None
        for _ in range(8):
            damaged = bytearray(profile)
            for place in random.integers(0, min(len(profile), 700), 3):
                damaged[place] = random.integers(256)
            for pixels in (PIXELS, GREY):
                image = Image.fromarray(pixels[:4, :4])
                image.info["icc_profile"] = bytes(damaged)
                assert to_picture(image).pixels.shape == (4, 4, 3)
                assert to_picture(image, STRIP).pixels.shape == (4, 4, 3)
            image = Image.new("CMYK", (4, 4))
            image.info["icc_profile"] = bytes(damaged)
            assert to_picture(image).pixels.shape == (4, 4, 3)


@pytest.mark.filterwarnings("error")
def test_no_values_of_gamma_or_primaries_harm_the_photo() -> None:
    for value in (0, 1, 99, 100_000, 2**32 - 1):
        for count in (1, 3):
            primaries = struct.pack(f">{8}I", *([value] * count + [31_270] * (8 - count)))
            picture = read_picture(png(gAMA=struct.pack(">I", value), cHRM=primaries))
            assert picture.pixels.shape == PIXELS.shape
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[318], tags[319] = (0.0, 0.0), (0.0,) * 6
    assert read_picture(file_of(Image.fromarray(PIXELS), "TIFF", tiffinfo=tags)).metadata == {}
