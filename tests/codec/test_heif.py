"""HEIC and JPEG XL photos, which packages of extras read. They are imported only when needed."""

from __future__ import annotations

import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401  registers the format with Pillow
import pytest
from PIL import Image, ImageOps
from support import make_pixels

import ticodec
from ticodec.errors import BadInputError
from ticodec.reading import jpegxl
from ticodec.reading.opening import open_image
from ticodec.reading.read import read_picture

#: The orientation of a photo turned by 90°.
TURNED = 6


def exif(orientation: int) -> bytes:
    made = Image.Exif()
    made[0x0112] = orientation
    made[0x010F] = "Maker"
    return made.tobytes()


def photo() -> Image.Image:
    """A dark photo of 90×60 whose top left quarter is red."""
    pixels = make_pixels(60, 90) // 4
    pixels[:30, :45] = (250, 5, 5)
    return Image.fromarray(pixels)


def heic(image: Image.Image | None = None, **options) -> bytes:
    pillow_heif.register_heif_opener()
    out = BytesIO()
    (image or photo()).save(out, "HEIF", quality=90, **options)
    return out.getvalue()


def jxl(image: Image.Image | None = None, **options) -> bytes:
    out = BytesIO()
    (image or photo()).save(out, "JXL", **options)
    return out.getvalue()


def orientation(metadata: dict[str, bytes]) -> int:
    loaded = Image.Exif()
    loaded.load(metadata.get("exif", b""))
    return loaded.get(0x0112, 1)


@pytest.mark.parametrize("make", [heic, jxl])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_pixels_are_near(make, mode: str) -> None:
    image = photo().convert(mode)
    if mode == "RGBA":
        image.putalpha(128)
    picture = read_picture(make(image))
    assert picture.grey == (mode == "L")
    assert np.abs(picture.pixels.astype(int) - image.convert("RGB")).mean() < 6
    assert (picture.alpha is not None) == (mode == "RGBA")


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_heic_photo_is_turned_once(turn: int) -> None:
    image = photo()
    image.getexif()[0x0112] = turn
    wanted = np.asarray(ImageOps.exif_transpose(image))
    picture = read_picture(heic(exif=exif(turn)))
    assert picture.pixels.shape == wanted.shape
    assert np.abs(picture.pixels.astype(int) - wanted).mean() < 6
    assert orientation(picture.metadata) == 1
    assert b"Maker" in picture.metadata["exif"]


def test_orientation_in_a_jpeg_xl_photo(tmp_path: Path) -> None:
    """The codestream has the orientation, which the EXIF only repeats.

    But a JPEG stored inside is unchanged, and has its orientation in the EXIF.
    """
    plain = read_picture(jxl(exif=exif(TURNED)))
    assert plain.pixels.shape == (60, 90, 3)
    assert orientation(plain.metadata) == 1
    path = tmp_path / "photo.jpg"
    photo().save(path, exif=exif(TURNED))
    with Image.open(path) as image:
        inside = read_picture(jxl(image, lossless_jpeg=True))
    assert inside.pixels.shape == (90, 60, 3)
    assert np.array_equal(inside.pixels, read_picture(path.read_bytes()).pixels)
    assert orientation(inside.metadata) == 1


def test_metadata_is_kept() -> None:
    packet = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'></x:xmpmeta>"
    for make in (heic, jxl):
        metadata = read_picture(make(exif=exif(1), xmp=packet)).metadata
        assert metadata["xmp"] == packet
        assert b"Maker" in metadata["exif"]


def test_ten_bits_become_eight() -> None:
    wide = (np.asarray(photo()).astype(np.uint16) * 257).tobytes()
    out = BytesIO()
    pillow_heif.from_bytes("RGB;16", (90, 60), wide).save(out, quality=90)
    image, _ = open_image(out.getvalue())
    assert (image.mode, image.info["bit_depth"]) == ("RGB", 10)
    assert np.abs(np.asarray(image).astype(int) - np.asarray(photo())).mean() < 6


def test_the_primary_picture_is_read() -> None:
    pictures = [Image.new("RGB", (64, 64 + 16 * k), (80 * k, 0, 0)) for k in range(3)]
    data = heic(pictures[0], save_all=True, append_images=pictures[1:], primary_index=1)
    image, _ = open_image(data)
    assert image.size == (64, 80)
    assert abs(image.getpixel((30, 30))[0] - 80) < 6


@pytest.mark.parametrize("make", [heic, jxl])
def test_too_many_pixels_are_refused_before_they_are_decoded(make, monkeypatch) -> None:
    data = make(Image.new("RGB", (900, 600)))
    monkeypatch.setattr(Image.Image, "frombytes", lambda *_: pytest.fail("decoded"))
    monkeypatch.setattr("pillow_jxl.JpegXLImagePlugin.Decoder", lambda **_: pytest.fail("decoded"))
    with pytest.raises(BadInputError, match=r"900×600 pixels, .*`max_pixels`"):
        open_image(data, 539_999)
    seen = []

    def check(height: int, width: int) -> None:
        seen.append((height, width))
        raise BadInputError("no memory")

    with pytest.raises(BadInputError, match="no memory"):
        open_image(data, 540_000, check)
    assert seen == [(600, 900)]


def test_a_header_that_names_a_smaller_picture_does_not_evade_the_limit(monkeypatch) -> None:
    from pillow_heif.as_plugin import HeifImageFile

    def opened(self: HeifImageFile, *_: object) -> None:
        self._size, self._mode = (4, 4), "RGB"

    monkeypatch.setattr(HeifImageFile, "_init_from_heif_file", opened)
    with pytest.raises(BadInputError, match="90×60 pixels"):
        open_image(heic(), 100)


SIZES = [(1, 1), (8, 8), (256, 256), (100, 60), (640, 480), (1920, 1080), (999, 1777), (40, 9000)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("container", [False, True])
def test_the_header_of_jpeg_xl(size: tuple[int, int], container: bool) -> None:
    for mode in ("L", "RGBA"):
        data = jxl(Image.new(mode, size), effort=1, use_container=container)
        assert jpegxl.facts(data) == (size[1], size[0], False, 8)


def test_losses_of_a_jpeg_xl_photo_are_noted() -> None:
    plain = jxl(exif=exif(1), xmp=b"<x/>", use_container=True)
    assert open_image(plain)[1] == []
    lost = {note.kind: str(note) for note in open_image(with_compressed_metadata())[1]}
    assert set(lost) == {"exif", "xmp"}
    wide = Image.fromarray((np.arange(64 * 64) * 16).astype(np.uint16).reshape(64, 64))
    (note,) = open_image(jxl(wide))[1]
    assert (note.kind, note.lost) == ("bits", True)
    assert note.text.startswith("16 bits")
    floats = Image.fromarray(np.linspace(0, 1, 4096, dtype=np.float32).reshape(64, 64))
    assert jpegxl.facts(jxl(floats)).bits == 32


def with_compressed_metadata() -> bytes:
    return jxl(exif=exif(1), xmp=b"<x/>" * 50, compress_metadata=True)


def test_the_header_of_an_animation() -> None:
    """No package here writes animations. The bits of this header mean: 8×8, not all defaults,
    orientation 1, no intrinsic size, no preview, an animation."""
    bits = "1" + "00000" + "100" + "0" + "1" + "000" + "0" + "0" + "1"
    data = jpegxl.CODESTREAM + int(bits[::-1], 2).to_bytes(4, "little")
    assert jpegxl.facts(data) == (8, 8, True, 8)


@pytest.mark.parametrize("make", [heic, jxl])
def test_damaged_files_are_reported_in_one_line(make) -> None:
    data = make()
    for short in (data[:3], data[:14], data[:40], data[: len(data) // 2]):
        with pytest.raises(BadInputError) as refused:
            open_image(short)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("make", "module", "extra"),
    [(heic, "pillow_heif", "heif"), (jxl, "pillow_jxl", "jxl")],
)
def test_a_missing_package_is_named(make, module, extra, tmp_path, monkeypatch, run) -> None:
    path = tmp_path / "IMG_1.HEIC"
    path.write_bytes(make())
    monkeypatch.setitem(sys.modules, module, None)
    line = rf"needs packages that are not installed: pip install 'ticodec\[{extra}\]'"
    with pytest.raises(BadInputError, match=line):
        ticodec.encode(path, model="tiny")
    run("encode", path, "-m", "tiny").fails(3, str(path), f"pip install 'ticodec[{extra}]'")


def test_avif_needs_no_extra(monkeypatch) -> None:
    """Not even if a program has loaded pillow-heif, which takes the general brand for HEVC."""
    pillow_heif.register_heif_opener()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    out = BytesIO()
    photo().save(out, "AVIF")
    data = out.getvalue()
    assert open_image(data)[0].format == "AVIF"
    assert open_image(data.replace(b"ftypavif", b"ftypmif1", 1))[0].format == "AVIF"


def test_a_general_brand_is_read_as_heic() -> None:
    assert open_image(heic().replace(b"ftypheic", b"ftypmif1", 1))[0].format == "HEIF"


def test_packages_are_imported_only_for_files_that_need_them() -> None:
    script = f"""if True:
        import sys
        from pathlib import Path
        from ticodec.reading.opening import open_image
        open_image(bytes.fromhex({small_png().hex()!r}))
        assert not {{"pillow_heif", "pillow_jxl"}} & set(sys.modules)
        open_image(bytes.fromhex({heic().hex()!r}))
        open_image(bytes.fromhex({jxl().hex()!r}))
        from PIL import Image
        assert "HEIF" not in Image.OPEN, "its plugin would take AVIF files from Pillow's own"
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def small_png() -> bytes:
    out = BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG")
    return out.getvalue()


def test_a_heic_photo_that_pillow_has_opened_is_saved_as_tic() -> None:
    import ticodec.pillow

    data, out = heic(exif=exif(TURNED)), BytesIO()
    Image.open(BytesIO(data)).save(out, "TIC", model="tiny")
    assert ticodec.decode(out.getvalue()).size == (60, 90)
    assert out.getvalue() == ticodec.encode(data, model="tiny")
