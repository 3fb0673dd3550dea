"""Output formats: what each keeps and refuses, its mark, and how a format is added."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from support import SRGB_ICC, make_pixels

from ticodec import writers
from ticodec.errors import UsageError
from ticodec.picture import Picture
from ticodec.reading.colours import icc, transfer
from ticodec.writers import WRITERS, Writer, mark_in, writer_of

#: Profiles for grey pictures (True) and for others (False).
ICC = {True: icc.grey_profile(transfer.formula(1.8)), False: SRGB_ICC}
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">\xc3\xbc</x:xmpmeta>'
HEIGHT, WIDTH = 40, 60
NAMES = [writer.name for writer in WRITERS]


def exif() -> bytes:
    """EXIF with tags of the image, of the camera, and of the place."""
    tags = Image.Exif()
    tags[0x010F] = "Maker"
    tags.get_ifd(0x8769).update({0x9003: "2026:01:02 03:04:05", 0x829A: (1, 200)})
    tags.get_ifd(0x8825).update({1: "N", 2: (1.0, 2.0, 3.5)})
    return tags.tobytes()


def tags_of(tags: Image.Exif) -> tuple[object, dict, dict]:
    return tags.get(0x010F), dict(tags.get_ifd(0x8769)), dict(tags.get_ifd(0x8825))


def image_of(mode: str, metadata: bool = True) -> Image.Image:
    """A decoded picture of this mode."""
    pixels = make_pixels(HEIGHT, WIDTH)
    grey = mode in ("L", "LA")
    alpha = make_pixels(HEIGHT, WIDTH, 3)[..., 0] if "A" in mode else None
    pixels = np.repeat(pixels[..., :1], 3, axis=2) if grey else pixels
    kept = {"icc": ICC[grey], "exif": exif(), "xmp": XMP} if metadata else {}
    return Picture(pixels, grey, alpha, kept).to_image()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def largest_difference(one: Image.Image, other: Image.Image) -> int:
    pair = [np.asarray(image.convert("RGBA")).astype(int) for image in (one, other)]
    return int(abs(pair[0] - pair[1]).max())


@pytest.mark.parametrize("metadata", [True, False])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA"])
@pytest.mark.parametrize("name", NAMES)
def test_every_format_keeps_what_it_can(name: str, mode: str, metadata: bool) -> None:
    writer = next(writer for writer in WRITERS if writer.name == name)
    image = image_of(mode, metadata)
    if "A" in mode and not writer.alpha:
        with pytest.raises(UsageError, match=r"cannot keep; .* \.png, \.webp, \.avif, \.tif$"):
            writer.write(image)
        return
    back = opened(writer.write(image))
    assert back.format == name.upper()
    assert back.size == (WIDTH, HEIGHT)
    modes = {mode} if name in ("PNG", "JPEG", "TIFF") else {mode.replace("L", "RGB")}
    assert back.mode in (modes | {mode} if name == "AVIF" else modes)  # newer Pillow reads grey
    lossless = name in ("PNG", "WebP", "TIFF")
    assert largest_difference(back, image) <= (0 if lossless else 24)
    if not metadata:
        assert not {"icc_profile", "xmp"} & set(back.info)
        assert 0x010F not in back.getexif()
        return
    profile = ICC["L" in mode]
    of_rgb = name == "WebP" or (name, mode) == ("AVIF", "LA")
    assert back.info["icc_profile"] == (icc.for_rgb(profile) if of_rgb else profile)
    assert back.info["xmp"] == XMP
    assert tags_of(back.getexif()) == tags_of(image.getexif())


@pytest.mark.parametrize(("suffix", "mode"), [("webp", "L"), ("webp", "LA"), ("avif", "LA")])
def test_a_grey_profile_becomes_rgb_with_the_pixels(suffix: str, mode: str) -> None:
    """Formats forbid a profile that does not match the pixels, and viewers ignore it."""
    back = opened(writer_of(suffix).write(image_of(mode)))
    profile = icc.read(back.info["icc_profile"])
    assert profile is not None
    assert profile.space == b"RGB "
    assert profile.grey_curve == transfer.formula(1.8)


def test_grey_in_avif_is_grey() -> None:
    back = np.asarray(opened(writer_of("avif").write(image_of("L"))).convert("RGB"))
    assert (back == back[..., :1]).all()


def test_colours_of_transparent_pixels_are_kept_in_webp() -> None:
    image = image_of("RGBA")
    image.putalpha(0)
    assert largest_difference(opened(writer_of("webp").write(image)), image) == 0


def test_tags_of_a_tiff_about_its_samples_are_not_kept() -> None:
    """The EXIF of a photo from a TIFF has tags about how that TIFF stored its pixels."""
    source = io.BytesIO()
    image_of("RGBA").save(source, "TIFF", compression="tiff_lzw")
    image = image_of("L", metadata=False)
    image.info["exif"] = opened(source.getvalue()).getexif().tobytes()
    back = opened(writer_of("tif").write(image))
    assert back.mode == "L"
    assert largest_difference(back, image) == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("block", [b"Exif\0\0garbage", b"Exif\0\0II*\0" + b"\xff" * 9, b"?"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_exif_does_no_harm(name: str, block: bytes) -> None:
    image = image_of("RGB", metadata=False)
    image.info["exif"] = block
    writer = next(writer for writer in WRITERS if writer.name == name)
    assert opened(writer.write(image)).size == (WIDTH, HEIGHT)


def test_quality_is_for_lossy_formats() -> None:
    image = image_of("RGB")
    for name in ("jpg", "avif", "webp"):
        sizes = [len(writer_of(name).write(image, quality)) for quality in (1, 50, 100)]
        assert sizes == sorted(sizes)
        assert len(set(sizes)) == 3
        for quality in (0, 101, 5.5, "80", True):
            with pytest.raises(UsageError, match="`output_quality` must be from 1 to 100"):
                writer_of(name).write(image, quality)  # type: ignore[arg-type]
    for name in ("png", "tif"):
        with pytest.raises(UsageError, match=r"no `output_quality`; .* \.webp, \.jpg, \.avif"):
            writer_of(name).write(image, 80)


@pytest.mark.parametrize(("name", "side"), [("WebP", 16384), ("JPEG", 65501), ("AVIF", 65536)])
def test_sides_that_are_too_long(name: str, side: int) -> None:
    writer = writer_of(name.lower())
    writer.check(side - 1, 1, False)
    with pytest.raises(UsageError, match=f"{side}×1 pixels are too many for {name}"):
        writer.write(Image.new("L", (side, 1)))


def test_metadata_that_is_too_long_for_jpeg() -> None:
    image = image_of("RGB")
    image.info["xmp"] = b"x" * 70_000
    with pytest.raises(UsageError, match="cannot be written as JPEG: XMP data is too long"):
        writer_of("jpg").write(image)
    assert opened(writer_of("png").write(image)).info["xmp"] == image.info["xmp"]


def test_bugs_are_not_reported_as_a_picture_that_does_not_fit(monkeypatch) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise TypeError("a mistake of ours")

    monkeypatch.setattr(Image.Image, "save", broken)
    with pytest.raises(TypeError, match="a mistake of ours"):
        writer_of("jpg").write(image_of("RGB"))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "PNG"])
def test_a_mark_can_be_read_and_does_no_harm(name: str) -> None:
    writer = next(writer for writer in WRITERS if writer.name == name)
    image = image_of("RGB")
    plain, marked = writer.write(image), writer.write(image, None, "crc32 0badcafe quality 95")
    assert marked.startswith(plain)
    assert largest_difference(opened(marked), opened(plain)) == 0
    assert tags_of(opened(marked).getexif()) == tags_of(image.getexif())
    assert mark_in(marked) == "crc32 0badcafe quality 95"
    for other in (plain, marked[:-1], marked + b"\0", b"", b"freeticodec x"):
        assert mark_in(other) is None


@pytest.mark.parametrize("name", [name for name in NAMES if name != "PNG"])
def test_a_mark_notices_changes_of_its_image(name: str) -> None:
    writer = next(writer for writer in WRITERS if writer.name == name)
    marked = writer.write(image_of("RGB"), None, "crc32 0badcafe")
    end = len(marked) - len("....freeticodec crc32 0badcafe image 00000000")
    for at in (0, end // 2, end - 1):
        changed = marked[:at] + bytes([marked[at] ^ 1]) + marked[at + 1 :]
        assert mark_in(changed) == "", at
    assert mark_in(marked[1:]) == ""


def test_a_format_is_added_in_one_place(monkeypatch, run, golden, tmp_path) -> None:
    """With one class and one entry the command finds the format."""

    class Ppm(Writer):
        name, suffixes, side_max = "PPM", (".ppm",), 10**6

        def save(self, image: Image.Image, out: io.BytesIO, quality: object, mark: str) -> None:
            image.convert("RGB").save(out, "PPM")

    monkeypatch.setattr(writers, "WRITERS", (*WRITERS, Ppm()))
    tic = golden / "v1" / "photo-q5.tic"
    assert run("decode", tic, tmp_path / "a.ppm").code == 0
    assert Image.open(tmp_path / "a.ppm").size == (160, 120)
    target = tmp_path / "out"
    assert run("batch", "decode", tic, target, "--format", "ppm", "-j", 1, "--dry-run").code == 0
    assert "photo-q5.ppm" in run("batch", "decode", tic, target, "--format", "ppm", "--dry-run").out
