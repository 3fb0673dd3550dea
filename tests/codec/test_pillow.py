"""`import ticodec.pillow`: Pillow opens and shrinks `.tic` files like those of other formats."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile, UnidentifiedImageError
from support import GOLDEN, make_pixels

import ticodec
from ticodec import container, pillow

EVERYTHING = GOLDEN / "v1" / "everything.tic"
PHOTO = GOLDEN / "v1" / "photo-q5.tic"
FILES = sorted((GOLDEN / "v1").glob("*.tic"))


@pytest.fixture(autouse=True)
def cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pillow, "DEVICE", "cpu")


@pytest.fixture
def wide(tiny) -> bytes:
    """A .tic file of 203×101 pixels."""
    return tiny.encode(make_pixels(101, 203))


def opened(data: bytes) -> ImageFile.ImageFile:
    return Image.open(io.BytesIO(data))


def flipped(data: bytes, at: int) -> bytes:
    """The same bytes with one wrong bit."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


# -- opening ------------------------------------------------------------------------


def test_the_format_is_registered() -> None:
    assert Image.registered_extensions()[".tic"] == "TIC"
    with Image.open(PHOTO) as image:
        assert (image.format, image.get_format_mimetype()) == ("TIC", "image/x-tic")


def test_open_loads_no_network() -> None:
    """Size, mode and metadata need no torch."""
    program = """if True:
        import sys
        from PIL import Image
        import ticodec.pillow
        with Image.open(sys.argv[1]) as image:
            image.verify()
            print(image.size, image.mode, sorted(image.info))
        assert "torch" not in sys.modules
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, EVERYTHING], capture_output=True, text=True
    )
    assert done.stdout.strip() == "(70, 50) RGBA ['exif', 'icc_profile', 'xmp']", done.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_pixels_equal_those_of_decode(path: Path) -> None:
    expected = ticodec.decode(path, device="cpu")
    with Image.open(path) as image:
        before = image.mode, image.size, dict(image.info)
        assert before == (expected.mode, expected.size, expected.info)
        assert image.tobytes() == expected.tobytes()
        assert before == (image.mode, image.size, image.info)


def test_a_grey_image_with_alpha() -> None:
    grey = Image.fromarray(make_pixels(40, 50)[..., 0])
    grey.putalpha(Image.linear_gradient("L").resize(grey.size))
    image = opened(ticodec.encode(grey, model="tiny", device="cpu"))
    assert image.mode == "LA"
    assert image.getchannel("A").tobytes() == grey.getchannel("A").tobytes()
    assert image.mode == "LA"


def test_the_image_is_the_same_however_it_is_opened() -> None:
    """From a path, from a file, from a file without seek, in parts, and after pickling."""

    class Stream(io.BytesIO):
        def seek(self, *_: int) -> int:
            raise io.UnsupportedOperation

    data = PHOTO.read_bytes()
    expected = Image.open(PHOTO).tobytes()
    parser = ImageFile.Parser()
    for at in range(0, len(data), 500):
        parser.feed(data[at : at + 500])
    ways = [Image.open(str(PHOTO)), opened(data), Image.open(Stream(data)), parser.close()]
    ways += [pickle.loads(pickle.dumps(image)) for image in (opened(data), ways[0])]
    assert all(image.tobytes() == expected for image in ways)
    with PHOTO.open("rb") as file:
        assert Image.open(file).tobytes() == expected
        assert not file.closed


def test_the_first_use_of_pixels_loads_them() -> None:
    whole = ticodec.decode(PHOTO, device="cpu")
    for use in (
        lambda image: image.copy(),
        lambda image: image.crop((3, 5, 20, 30)),
        lambda image: image.convert("L"),
        lambda image: image.resize((20, 20)),
        lambda image: image.getchannel("G"),
        lambda image: Image.fromarray(np.asarray(image)),
    ):
        assert use(Image.open(PHOTO)).tobytes() == use(whole).tobytes()
    image = Image.open(PHOTO)
    assert image.load()[4, 7] == image.getpixel((4, 7)) == whole.getpixel((4, 7))
    image.putpixel((4, 7), (1, 2, 3))
    assert image.getpixel((4, 7)) == (1, 2, 3)


def test_an_image_has_one_frame() -> None:
    image = Image.open(PHOTO)
    image.seek(0)
    with pytest.raises(EOFError):
        image.seek(1)
    assert image.tell() == 0


def test_the_file_is_closed_once_pixels_are_loaded() -> None:
    image = Image.open(PHOTO)
    file = image.fp
    assert not file.closed
    image.load()
    assert file.closed
    image.load()


@pytest.mark.parametrize("close", ["close", "__exit__", "verify"])
def test_a_closed_image_cannot_be_loaded(close: str) -> None:
    image = Image.open(PHOTO)
    file = image.fp
    getattr(image, close)()
    assert file.closed
    with pytest.raises(ValueError, match="closed image"):
        image.load()


# -- smaller ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "scale"),
    [
        ((203, 101), 1),
        ((400, 400), 1),
        ((102, 50), 1),
        ((101, 51), 1),
        ((101, 50), 2),
        ((51, 25), 2),
        ((50, 25), 4),
        ((26, 12), 4),
        ((25, 12), 8),
        ((1, 1), 8),
        ((0, 0), 8),
    ],
)
def test_draft_is_the_smallest_that_is_large_enough(
    wide: bytes, asked: tuple[int, int], scale: int
) -> None:
    image = opened(wide)
    assert image.draft("L", asked) == ("RGB", (0, 0, 203 / scale, 101 / scale))
    expected = ticodec.decode(wide, device="cpu", scale=scale)
    assert (image.mode, image.size) == ("RGB", expected.size)
    assert image.tobytes() == expected.tobytes()


def test_draft_chooses_the_same_sizes_as_for_jpeg(wide: bytes) -> None:
    """So programs that are written for JPEG get the sizes they expect."""
    jpeg = io.BytesIO()
    opened(wide).save(jpeg, "JPEG")
    for width in range(1, 220, 7):
        for height in (1, 12, 13, 25, 26, 50, 51, 101, 102):
            ours, theirs = opened(wide), Image.open(jpeg)
            assert ours.draft(None, (width, height)) == theirs.draft(None, (width, height))
            assert ours.size == theirs.size


def test_draft_has_no_effect_on_loaded_pixels(wide: bytes) -> None:
    image = opened(wide)
    assert image.draft("RGB", None) is None
    assert image.draft(None, (50, 25)) is not None
    assert image.draft(None, (25, 12)) is None
    assert image.size == (51, 26)
    image.load()
    assert image.draft(None, (1, 1)) is None
    assert pickle.loads(pickle.dumps(image)).draft(None, (1, 1)) is None


def test_thumbnails_are_decoded_at_a_scale(wide: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    from ticodec.codec import Codec

    scales, decode = [], Codec.decode

    def counted(self: Codec, data: object, *, scale: int = 1, **others: Any) -> ticodec.Picture:
        scales.append(scale)
        return decode(self, data, scale=scale, **others)

    monkeypatch.setattr(Codec, "decode", counted)
    for size, scale in (((25, 25), 2), ((6, 6), 8), ((150, 150), 1)):
        image = opened(wide)
        image.thumbnail(size)
        small = ticodec.decode(wide, device="cpu", scale=scale)
        box = (0.0, 0.0, 203 / scale, 101 / scale)
        bicubic = Image.Resampling.BICUBIC
        expected = small.resize(image.size, bicubic, box=box, reducing_gap=2.0)
        assert image.size == (size[0], round(size[0] * 101 / 203))
        assert np.array_equal(np.asarray(image), np.asarray(expected))
    assert scales == [2, 2, 8, 8, 1, 1]


def test_a_small_picture_keeps_its_alpha() -> None:
    image = Image.open(EVERYTHING)
    image.draft(None, (35, 25))
    expected = ticodec.decode(EVERYTHING, device="cpu", scale=2)
    assert (image.mode, image.size) == (expected.mode, expected.size) == ("RGBA", (35, 25))
    assert image.tobytes() == expected.tobytes()


# -- errors -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89TIC",
        PHOTO.read_bytes()[:20],
        PHOTO.read_bytes()[:6] + b"\x02" + PHOTO.read_bytes()[7:],
        PHOTO.read_bytes().replace(b"\r\n", b"\n"),
        flipped(PHOTO.read_bytes(), 16),
    ],
)
def test_files_that_are_no_tic_are_not_identified(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.tic"
    path.write_bytes(data)
    with pytest.raises(UnidentifiedImageError):
        Image.open(path)
    with pytest.raises(SyntaxError):
        pillow.TicImageFile(path)


def test_another_format_with_our_suffix(tmp_path: Path) -> None:
    Image.fromarray(make_pixels(20, 30)).save(tmp_path / "a.tic", "PNG")
    assert Image.open(tmp_path / "a.tic").format == "PNG"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (PHOTO.read_bytes()[:-1], "^damaged file: it ends too early$"),
        (PHOTO.read_bytes()[:40], "^damaged file: it ends too early$"),
        (PHOTO.read_bytes() + b"x", "bytes after its end"),
        (flipped(PHOTO.read_bytes(), 60), "wrong checksum of section"),
    ],
)
def test_a_damaged_file_opens_and_does_not_load(data: bytes, message: str) -> None:
    image = opened(data)
    with Image.open(PHOTO) as sound:
        assert (image.size, image.mode) == (sound.size, sound.mode)
    for use in (image.load, image.copy, lambda: image.thumbnail((9, 9)), image.verify):
        with pytest.raises(OSError, match=message):
            use()


def test_latents_or_alpha_that_do_not_decode() -> None:
    """The checksums of the file are right, but its content is wrong."""
    for name, message in (("y", "damaged"), ("alpha", "alpha plane")):
        parsed = container.read(EVERYTHING.read_bytes())
        number = next(s.number for s in ticodec.sections.SECTIONS if s.name == name)
        parsed.sections[number] = bytes(len(parsed.sections[number]))
        image = opened(container.write(parsed))
        with pytest.raises(OSError, match=message) as error:
            image.load()
        assert "\n" not in str(error.value)
        assert not isinstance(error.value, ValueError)


def test_missing_weights() -> None:
    parsed = container.read(PHOTO.read_bytes())
    parsed.header.fingerprint = b"none"
    image = opened(container.write(parsed))
    with pytest.raises(OSError, match="weights"):
        image.load()


def test_pillows_limit_of_pixels(wide: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 203 * 101 - 1)
    with pytest.warns(Image.DecompressionBombWarning):
        opened(wide)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 203 * 101 // 3)
    with pytest.raises(Image.DecompressionBombError):
        opened(wide)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert opened(wide).size == (203, 101)


def test_a_picture_that_does_not_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    parsed = container.read(PHOTO.read_bytes())
    parsed.header.width = parsed.header.height = container.SIDE_MAX
    image = opened(container.write(parsed))
    with pytest.raises(OSError, match="GiB of memory"):
        image.load()


def test_running_out_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr("ticodec.codec.Codec.decode", short)
    with pytest.raises(MemoryError, match="not enough memory for this"):
        Image.open(PHOTO).load()
