"""`import ticodec.pillow`: Pillow saves any image as a `.tic` file with its metadata."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from support import SRGB_ICC, WIDE_ICC, make_pixels

import ticodec
from ticodec import pillow

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">\xc3\xbc</x:xmpmeta>'


@pytest.fixture(autouse=True)
def cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pillow, "DEVICE", "cpu")


def saved(image: Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "TIC", model="tiny", **options)
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def exif(maker: str, orientation: int) -> Image.Exif:
    """EXIF with this maker of the camera and this orientation."""
    block = Image.Exif()
    block[0x010F], block[0x0112] = maker, orientation
    return block


def test_save_gives_the_same_bytes_as_encode(tmp_path: Path) -> None:
    image = Image.fromarray(make_pixels(40, 50))
    for quality in (None, 2, 5.5):
        expected = ticodec.encode(image, quality=quality, model="tiny", device="cpu")
        assert saved(image, quality=quality) == expected
        image.save(tmp_path / "a.tic", quality=quality, model="tiny")
        assert (tmp_path / "a.tic").read_bytes() == expected
    assert saved(image) == saved(image, quality=4)
    target = ticodec.Target("bpp", 3, nearest=True)
    expected = ticodec.encode(image, quality=target, effort=2, model="tiny", device="cpu")
    assert saved(image, quality=target, effort=2) == expected != saved(image, quality=target)
    with pytest.raises(OSError, match=r"^0.1 bpp cannot be reached; "):
        saved(image, quality=ticodec.Target("bpp", 0.1))
    with pytest.raises(ValueError, match=r"^`effort` must be from 1 to 9, not 10"):
        saved(image, effort=10)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "F"])
def test_any_mode_is_saved(mode: str) -> None:
    image = Image.new(mode, (30, 20))
    expected = ticodec.encode(image, model="tiny", device="cpu")
    assert saved(image) == expected


def test_a_file_is_saved_over_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.tic"
    path.write_bytes(saved(Image.fromarray(make_pixels(40, 50))))
    image = Image.open(path)
    image.save(path, quality=1, model="tiny")
    assert ticodec.info(path)["quality"] == 1
    assert ticodec.info(path)["width"] == image.width


def test_metadata_of_the_image_is_kept() -> None:
    image = Image.fromarray(make_pixels(20, 30))
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    block = exif("kept", 1).tobytes()
    image.info = {"icc_profile": SRGB_ICC, "exif": block, "xmp": XMP}
    again = opened(saved(image))
    assert again.info["icc_profile"] == SRGB_ICC
    assert again.info["xmp"] == XMP
    assert again.getexif()[0x010F] == "kept"
    assert again.getchannel("A").tobytes() == image.getchannel("A").tobytes()


def test_metadata_as_options() -> None:
    """They replace the image's own metadata in the file, but not in the image."""
    image = Image.fromarray(make_pixels(20, 30))
    image.info = {"icc_profile": SRGB_ICC, "exif": exif(maker="old", orientation=6), "xmp": b"old"}
    before = dict(image.info)
    block = exif("new", 1)
    for given in (block, block.tobytes()):
        new = opened(saved(image, icc_profile=WIDE_ICC, exif=given, xmp=XMP.decode()))
        assert (new.size, new.info["icc_profile"], new.info["xmp"]) == ((30, 20), WIDE_ICC, XMP)
        assert new.getexif()[0x010F] == "new"
    for nothing in (None, b""):
        bare = opened(saved(image, icc_profile=nothing, exif=nothing, xmp=nothing))
        assert (bare.size, bare.info) == ((30, 20), {})
    assert opened(saved(image, xmp=XMP)).info["icc_profile"] == SRGB_ICC
    assert image.info == before


def test_orientation_is_applied() -> None:
    image = Image.fromarray(make_pixels(20, 30))
    turned = opened(saved(image, exif=exif("x", 6)))
    assert turned.size == (20, 30)
    assert dict(turned.getexif()) == {0x010F: "x"}
    expected = opened(saved(image.transpose(Image.Transpose.ROTATE_270)))
    assert turned.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quality": 95}, "^quality must be from 1 to 8, not 95$"),
        ({"quality": "keep"}, "quality must be a number or a `Target`, not str"),
        ({"model": "nothing"}, "nothing"),
        ({"exif": 5}, "^`exif` must be bytes, not int$"),
        ({"icc_profile": "sRGB"}, "`icc_profile` must be bytes, not str"),
    ],
)
def test_wrong_options(options: dict[str, object], message: str, tmp_path: Path) -> None:
    image = Image.new("RGB", (20, 10))
    with pytest.raises(ValueError, match=message):
        image.save(tmp_path / "a.tic", **{"model": "tiny", **options})
    assert list(tmp_path.iterdir()) == []
