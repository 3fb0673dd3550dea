"""The codec from end to end with the tiny network: sizes, modes, metadata, quality, weights."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from support import SRGB_ICC, make_pixels

import ticodec
from ticodec import container, memory, weights
from ticodec.codec import Codec
from ticodec.device import pick_device
from ticodec.errors import BadInputError, TicodecError, UsageError
from ticodec.models.families import config_from
from ticodec.reading.read import to_picture
from ticodec.sections import pack_alpha, unpack_alpha
from ticodec.writers import writer_of


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


@pytest.mark.parametrize("size", [(1, 1), (1, 130), (67, 1), (64, 64), (65, 63), (200, 129)])
def test_images_of_any_size_are_decoded(tiny, picture, size: tuple[int, int]) -> None:
    original = picture(*size)
    data = tiny.encode(original, 5)
    decoded = tiny.decode(data)
    assert decoded.pixels.shape == (*size, 3)
    assert decoded.pixels.dtype == np.uint8
    info = ticodec.info(data)
    assert (info["height"], info["width"]) == size


def test_quality_is_continuous_and_monotone(tiny, picture) -> None:
    original = picture(192, 256)
    files = [tiny.encode(original, q) for q in (1, 2.5, 4, 6, 8)]
    sizes = [len(data) for data in files]
    quality = [psnr(tiny.decode(data).pixels, original.pixels) for data in files]
    assert sizes == sorted(sizes)
    assert sizes[-1] > 1.3 * sizes[0]
    assert quality[-1] > quality[0]
    assert [ticodec.info(data)["quality"] for data in files] == [1, 2.5, 4, 6, 8]


def test_shipped_model_makes_good_pictures(sample) -> None:
    shipped = next(e for e in weights.entries(weights.store.SHIPPED) if e.default)
    data = ticodec.encode(sample, quality=5, model=shipped.name)
    image = ticodec.decode(data)
    assert image.size == (768, 512)
    original = np.asarray(Image.open(sample))
    assert 8 * len(data) / (768 * 512) < 1.0
    assert psnr(np.asarray(image), original) > 31


@pytest.mark.parametrize("quality", [0.99, 8.01, -1, float("nan"), float("inf")])
def test_quality_out_of_range(tiny, picture, quality: float) -> None:
    with pytest.raises(UsageError, match="quality must be from 1 to 8"):
        tiny.encode(picture(8, 8), quality)


def test_grey_stays_grey(tiny) -> None:
    image = Image.fromarray(make_pixels(40, 50)[..., 0])
    decoded = ticodec.decode(ticodec.encode(image, quality=6, model="tiny"))
    assert decoded.mode == "L"
    assert decoded.size == (50, 40)


@pytest.mark.parametrize("mode", ["1", "P", "CMYK", "YCbCr", "I;16", "F", "LA", "RGBA", "HSV"])
def test_every_mode_encodes(mode: str) -> None:
    rgb = Image.fromarray(make_pixels(30, 40))
    if mode in ("I;16", "F"):
        numbers = np.asarray(rgb.convert("L")).astype(np.uint16) * (257 if mode == "I;16" else 1)
        image = Image.fromarray(numbers if mode == "I;16" else numbers.astype(np.float32))
    else:
        image = rgb.convert("L").convert(mode) if mode == "LA" else rgb.convert(mode)
    decoded = ticodec.decode(ticodec.encode(image, quality=8, model="tiny"))
    assert decoded.size == (40, 30)
    expected = np.asarray(rgb.convert("L")).mean()
    assert np.asarray(decoded.convert("L")).mean() == pytest.approx(expected, abs=20)


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    picture = to_picture(Image.fromarray(ramp))
    assert picture.pixels[0, 0, 0] == 0
    assert picture.pixels[-1, -1, 0] == 255
    assert picture.pixels[32, 0, 0] == 128


def test_alpha_is_lossless(tiny, picture) -> None:
    original = picture(33, 47)
    original.alpha = make_pixels(33, 47, 9)[..., 0]
    decoded = ticodec.decode(tiny.encode(original, 3))
    assert decoded.mode == "RGBA"
    assert np.array_equal(np.asarray(decoded)[..., 3], original.alpha)


def test_opaque_alpha_takes_no_bytes() -> None:
    image = Image.fromarray(make_pixels(20, 20)).convert("RGBA")
    names = [s["type"] for s in ticodec.info(ticodec.encode(image, model="tiny"))["sections"]]
    assert names == ["z", "y"]


def test_metadata_comes_back_and_orientation_is_applied(tmp_path) -> None:
    image = Image.fromarray(make_pixels(20, 30))
    exif = image.getexif()
    exif[0x0112] = 6  # rotate by 90° when shown
    exif[0x010F] = "Maker"
    path = tmp_path / "turned.jpg"
    image.save(path, exif=exif, icc_profile=SRGB_ICC, quality=95)
    decoded = ticodec.decode(ticodec.encode(path, model="tiny"))
    assert decoded.size == (20, 30), "upright"
    assert decoded.info["icc_profile"] == SRGB_ICC
    back = Image.Exif()
    back.load(decoded.info["exif"])
    assert back[0x010F] == "Maker"
    assert 0x0112 not in back
    saved = Image.open(io.BytesIO(writer_of("png").write(decoded)))
    assert saved.getexif()[0x010F] == "Maker"
    assert saved.info["icc_profile"] == SRGB_ICC


def test_decoding_with_other_weights_is_an_error(tiny, picture) -> None:
    parsed = container.read(tiny.encode(picture(10, 10), 4))
    parsed.header.fingerprint = b"\1\2\3\4"
    data = container.write(parsed)
    with pytest.raises(BadInputError, match="weights 01020304, not with the weights of tiny"):
        tiny.decode(data)
    with pytest.raises(BadInputError, match=r"01020304.*not installed.*TICODEC_WEIGHTS"):
        ticodec.decode(data)


def test_wrong_symbols_are_an_error(tiny, picture) -> None:
    parsed = container.read(tiny.encode(picture(64, 64), 4))
    parsed.header.symbols ^= 1
    with pytest.raises(BadInputError, match="do not match their checksum"):
        tiny.decode(container.write(parsed))


def test_swapped_streams_are_an_error(tiny, picture) -> None:
    one = container.read(tiny.encode(picture(64, 64, 1), 4))
    two = container.read(tiny.encode(picture(64, 64, 2), 4))
    one.sections[2] = two.sections[2]
    with pytest.raises(BadInputError):
        tiny.decode(container.write(one))


def test_weights_whose_tables_do_not_fit_are_refused(tiny) -> None:
    """With tables for fewer channels the coder, which does not check, would read beyond them."""
    import torch

    from ticodec.entropy.coder import EntropyCoder

    exact = {k[6:]: v for k, v in weights.read(tiny.entry)[1].items() if k.startswith("exact.")}
    few = dict(exact)
    few["z.halves"], few["z.centres"] = exact["z.halves"][:4], exact["z.centres"][:4]
    few["z.frequencies"] = exact["z.frequencies"][: int((2 * few["z.halves"] + 1).sum())]
    short = {**exact, "y.thresholds": torch.cat([exact["y.thresholds"], torch.tensor([2**21])])}
    for damaged in (few, short):
        with pytest.raises(BadInputError, match="tables do not fit"):
            EntropyCoder(tiny.config, damaged, torch.device("cpu"))


def test_a_loaded_codec_takes_paths_images_and_arrays(tiny, photo) -> None:
    image = Image.open(photo)
    files = [tiny.encode(source, 3) for source in (photo, str(photo), image, np.array(image))]
    assert len(set(files)) == 1
    assert tiny.decode(files[0]).to_image().size == image.size
    with pytest.raises(UsageError, match=r"image must be a path, bytes, .* not int"):
        tiny.encode(12, 3)


def test_damaged_metadata_is_dropped(tmp_path) -> None:
    image = Image.fromarray(make_pixels(20, 30))
    for number, exif in enumerate([b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff"]):
        path = tmp_path / f"{number}.jpg"
        image.save(path, exif=exif, icc_profile=SRGB_ICC)
        decoded = ticodec.decode(ticodec.encode(path, model="tiny"))
        assert decoded.size == (30, 20)
        assert decoded.info["icc_profile"] == SRGB_ICC


def test_transparency_of_16_bit_grey(tmp_path) -> None:
    pixels = np.full((20, 20), 30_000, np.uint16)
    pixels[5:9] = 60_000
    path = tmp_path / "deep.png"
    Image.fromarray(pixels).save(path, transparency=60_000)
    decoded = ticodec.decode(ticodec.encode(path, model="tiny"))
    assert decoded.mode == "LA"
    assert (np.asarray(decoded)[5:9, :, 1] == 0).all()
    assert (np.asarray(decoded)[9:, :, 1] == 255).all()


def test_a_damaged_alpha_plane_is_an_error(tiny, picture) -> None:
    plane = make_pixels(20, 30)[..., 0]
    packed = pack_alpha(plane)
    assert np.array_equal(unpack_alpha(packed, 20, 30), plane)
    for damaged in (packed[:-1], packed + b"x", packed[:10], b"", pack_alpha(plane[1:])):
        with pytest.raises(BadInputError, match="alpha plane"):
            unpack_alpha(damaged, 20, 30)


PEAK = """
import sys
from pathlib import Path
import numpy
import ticodec

def peak():  # not ru_maxrss, which a process inherits from the one that started it
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0])

"""
PHOTO = f"""{PEAK}
data = ticodec.encode(sys.argv[1], quality=8, model=sys.argv[2], device="cpu")
print(peak())
ticodec.decode(data, device="cpu")
print(peak())
"""


#: By how much the peak grows when an image of 64×12000 follows one of 64×64.
WIDE = f"""{PEAK}
codec = ticodec.load(sys.argv[1], device="cpu", bf16=False)
noise = numpy.random.default_rng(0).integers(0, 256, (64, 12000, 3), numpy.uint8)
codec.decode(codec.encode(noise[:, :64]))
before = peak()
codec.decode(codec.encode(noise))
print(peak() - before)
"""


def numbers(script: str, *arguments: str) -> list[int]:
    """The numbers that a script prints. It runs in a process of its own."""
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


@pytest.mark.parametrize(("name", "mebibytes"), [("tic-plus", 1280), ("tic-lite", 1024)])
def test_peak_memory_of_a_photo(sample, name: str, mebibytes: int) -> None:
    """A photo of 768×512 is encoded, then decoded, in one process.

    Most of the memory is taken by the import of torch.
    """
    assert max(numbers(PHOTO, str(sample), name)) < mebibytes * 1024


@pytest.mark.parametrize("name", ["tic-plus", "tic-lite"])
def test_the_memory_estimate_of_a_wide_image(name: str) -> None:
    (growth,) = numbers(WIDE, name)
    asked = memory.needed(config_from(weights.read(weights.find(name))[0]), 64, 12000)
    assert 0.2 * asked < growth * 1024 < asked


def test_the_error_about_memory_names_a_smaller_model(monkeypatch, picture) -> None:
    monkeypatch.setattr(memory, "available", lambda: 1000)
    for name, remedy in (
        ("tic-plus", "or a smaller model such as tic-lite"),
        ("tic-lite", "image"),
    ):
        with pytest.raises(TicodecError, match=f"^90×70 pixels need about .*{remedy}$"):
            ticodec.load(name, device="cpu").encode(picture(70, 90))


def test_outliers_are_coded(tiny) -> None:
    """Latents far outside every table, such as those of random pixels at a high gain, are exact."""
    import torch

    generator = torch.Generator().manual_seed(0)
    y = torch.randn(8, 4, tiny.config.M, generator=generator) * 3
    y[3, 2] = 40_000
    y[5, 1] = -700.3
    z = torch.randn(2, 1, tiny.config.N, generator=generator) * 100
    coded = tiny.entropy.encode(y, z)
    decoded = tiny.entropy.decode(coded.z_stream, coded.y_stream, 2, 1)
    assert decoded.symbols == coded.symbols
    ordinary = y.abs() < 1000
    assert ((decoded.y_hat - y).abs()[ordinary] <= 0.5 + 1e-6).all()


def test_a_fixed_lambda_network_works_and_has_no_quality(fixed, picture) -> None:
    codec = Codec(fixed, "cpu")
    data = codec.encode(picture(70, 80))
    assert ticodec.info(data)["quality"] is None
    assert codec.decode(data).pixels.shape == (70, 80, 3)
    with pytest.raises(UsageError, match="one fixed quality"):
        codec.encode(picture(70, 80), 5)


def test_bf16_changes_pixels_little_and_no_symbols(tiny, picture) -> None:
    data = tiny.encode(picture(128, 128), 6)
    low = Codec(tiny.entry, "cpu", bf16=True)
    parsed = container.read(data)
    assert (low.latents(parsed) == tiny.latents(parsed)).all()
    assert psnr(low.decode(data).pixels, tiny.decode(data).pixels) > 42


def test_damaged_missing_and_foreign_weights(tiny, tmp_path) -> None:
    data = tiny.entry.path.read_bytes()
    path = tmp_path / "w.safetensors"
    with pytest.raises(BadInputError, match="weights of tiny are missing"):
        Codec(replace(tiny.entry, path=path), "cpu")
    path.write_bytes(data[:-1])
    with pytest.raises(BadInputError, match="damaged weights"):
        Codec(replace(tiny.entry, path=path), "cpu")


def test_unknown_devices_and_models() -> None:
    with pytest.raises(UsageError, match="unknown device"):
        pick_device("tpu")
    with pytest.raises(UsageError, match="no weights for model 'nope'; installed: tiny"):
        ticodec.load("nope")


@pytest.mark.parametrize("array", [np.zeros((4, 4), float), np.zeros((0, 4, 3), np.uint8)])
def test_bad_arrays(array: np.ndarray) -> None:
    with pytest.raises(UsageError):
        ticodec.encode(array, model="tiny")


def test_many_pictures_at_once_give_the_same_bytes_and_pixels(bf16, tiny, picture):
    tiny = Codec(tiny.entry, "cpu")
    assert tiny.dtype == (torch.bfloat16 if bf16 else torch.float32)
    sizes = [(70, 90), (64, 64), (1, 1), (200, 33), (64, 300), (65, 64)]
    pictures = [picture(*size, seed) for seed, size in enumerate(sizes)]
    alone = [tiny.encode(each, 3) for each in pictures]
    assert tiny.encode_many(pictures, 3) == alone
    containers = [container.read(data) for data in alone]
    together = zip(alone, containers, tiny.latents_many(containers), strict=True)
    for data, each, y_hat in together:
        assert np.array_equal(tiny.picture(each, y_hat).pixels, tiny.decode(data).pixels)
    containers[2].header.symbols ^= 1
    with pytest.raises(BadInputError, match="checksum"):
        tiny.latents_many(containers)
    assert tiny.encode_many([]) == []
