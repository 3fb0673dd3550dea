"""Grey photos of any mode stay grey, with a grey profile or none."""

from __future__ import annotations

import io

import numpy as np
import pytest
from colour_support import GAMMA_18, GREY, expected, file_of, gamma, png, shown
from PIL import Image, ImageCms
from support import SRGB_ICC, WIDE_ICC

import ticodec
from ticodec.picture import Picture
from ticodec.reading.colours import icc, transfer
from ticodec.reading.colours.primaries import BT_709, PRIMARIES
from ticodec.reading.read import read_picture
from ticodec.writers import writer_of

P3 = PRIMARIES[12]


def text(picture: Picture) -> str:
    (note,) = picture.notes
    assert note.kind == "colour"
    return note.text


def is_neutral(pixels: np.ndarray) -> bool:
    return bool((np.ptp(pixels, axis=2) == 0).all())


@pytest.mark.parametrize(
    "data",
    [
        png(GREY),
        png(GREY[..., 0]),
        file_of(Image.fromarray(GREY), "JPEG", quality=90),
        file_of(Image.fromarray(GREY).quantize(64), "PNG"),
        file_of(Image.fromarray(GREY[..., 0]).convert("LA"), "PNG"),
        file_of(Image.fromarray(GREY).convert("YCbCr"), "JPEG"),
        file_of(Image.fromarray(GREY), "WEBP", quality=80),
        file_of(Image.fromarray(GREY), "AVIF", quality=60),
        file_of(Image.fromarray(GREY), "GIF"),
    ],
    ids=["RGB", "L", "JPEG", "palette", "LA", "YCbCr", "WebP", "AVIF", "GIF"],
)
def test_grey_is_grey_in_any_mode(data: bytes) -> None:
    picture = read_picture(data)
    assert picture.grey
    assert is_neutral(picture.pixels)
    assert ticodec.decode(ticodec.encode(data, quality=1, model="tiny")).mode == "L"
    assert picture.notes == []


def test_a_decoded_grey_picture_has_equal_channels(tiny) -> None:
    for scale in (1, 2):
        assert is_neutral(tiny.decode(tiny.encode(GREY, 1), scale=scale).pixels)


def test_one_level_of_colour_is_colour() -> None:
    pixels = GREY.copy()
    pixels[-1, -1, 2] ^= 1
    assert not read_picture(png(pixels)).grey


def test_a_grey_picture_has_a_grey_profile() -> None:
    """PNG forbids an RGB profile in a grey picture."""
    wide = icc.rgb_profile(P3, GAMMA_18)
    for pixels in (GREY, GREY[..., 0]):
        assert read_picture(png(pixels, icc_profile=SRGB_ICC)).metadata == {}
        picture = read_picture(png(pixels, icc_profile=wide))
        assert picture.metadata == {"icc": icc.grey_profile(GAMMA_18)}
        assert picture.notes == []
        assert np.abs(shown(picture) - expected(GREY, BT_709, 1.8)).max() < 2
        of_grey = icc.grey_profile(transfer.formula(2.0))
        assert read_picture(png(pixels, icc_profile=of_grey)).metadata == {"icc": of_grey}
        gamma_only = read_picture(png(pixels, gAMA=gamma(1 / 1.8)))
        profile = icc.read(gamma_only.metadata["icc"])
        assert profile is not None
        assert profile.space == b"GRAY"
        assert np.abs(shown(gamma_only) - expected(GREY, BT_709, 1.8)).max() < 2


def test_greys_with_curves_that_differ_are_converted() -> None:
    """Their profile tints them, and no grey profile can express that."""
    names = (b"rTRC", b"gTRC", b"bTRC")
    profile = icc.read(WIDE_ICC)
    assert profile is not None
    curves = dict(zip(names, map(transfer.formula, (1.8, 2.2, 2.6)), strict=True))
    tinted = icc._profile(b"RGB ", {**profile.tags, **curves})
    colours = read_picture(png(icc_profile=tinted))
    assert colours.metadata == {"icc": tinted}
    picture = read_picture(png(GREY, icc_profile=tinted))
    assert not picture.grey
    assert picture.metadata == {}
    assert "converted to sRGB" in text(picture)
    own = ImageCms.ImageCmsProfile(io.BytesIO(tinted))
    wanted = ImageCms.profileToProfile(
        Image.fromarray(GREY), own, ImageCms.createProfile("sRGB"), 1
    )
    assert np.abs(picture.pixels - np.asarray(wanted).astype(int)).max() <= 2


@pytest.mark.parametrize(
    ("profile", "kept"),
    [
        (SRGB_ICC, None),
        (icc.rgb_profile(P3, GAMMA_18), icc.grey_profile(GAMMA_18)),
        (icc.grey_profile(GAMMA_18), icc.grey_profile(GAMMA_18)),
        (b"no profile", b"no profile"),
    ],
)
def test_old_grey_files_with_an_rgb_profile(tiny, profile: bytes, kept: bytes | None) -> None:
    """Earlier versions wrote them. They decode to valid files, in Pillow's plugin too."""
    import ticodec.pillow

    data = tiny.encode(Picture(GREY, grey=True, metadata={"icc": profile}), 4)
    for image in (ticodec.decode(data), Image.open(io.BytesIO(data))):
        assert image.mode == "L"
        assert image.info.get("icc_profile") == kept
    back = Image.open(io.BytesIO(writer_of("png").write(ticodec.decode(data))))
    assert back.mode == "L"
