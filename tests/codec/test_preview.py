"""Smaller pictures of a file: decoded by the preview of its weights, or reduced from the whole."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support import GOLDEN, SAMPLES, make_pixels

import ticodec
from ticodec import weights
from ticodec.codec import Codec
from ticodec.errors import BadInputError, UsageError
from ticodec.inputs import SCALES
from ticodec.models.conv import shuffled
from ticodec.picture import Picture, smaller
from ticodec.psnr import psnr
from ticodec.training.export.canonical import safetensors_bytes

SMALLER = SCALES[1:]


def crop() -> Picture:
    """A detailed part of a photo, whose sides are no multiples of a block."""
    return Picture(np.asarray(Image.open(SAMPLES / "kodim23.png"))[100:261, 80:379])


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new weights folder with the tiny weights."""
    folder = shutil.copytree(GOLDEN / "weights", tmp_path / "store")
    monkeypatch.setenv("TICODEC_WEIGHTS", str(folder))
    return folder


@pytest.mark.parametrize("quality", [1, 5, 8])
def test_a_preview_equals_the_reduced_whole(tiny: Codec, quality: float) -> None:
    """They are as close as the layers of such a small network allow, at all scales."""
    data = tiny.encode(crop(), quality)
    whole = tiny.decode(data).pixels
    for scale in SMALLER:
        near = psnr(tiny.decode(data, scale=scale).pixels, smaller(whole, scale))
        assert near > 30, (scale, near)


@pytest.mark.parametrize("name", ["tic-plus", "tic-lite", "icat-lite"])
def test_previews_of_weights_that_ship(name: str) -> None:
    """They look like the reduced whole picture: no colour cast, and little other difference."""
    entry = next(e for e in weights.entries(weights.store.SHIPPED) if e.name == name and e.current)
    codec = Codec(entry, "cpu", bf16=False)
    data = codec.encode(crop(), 3)
    whole = codec.decode(data).pixels
    for scale in SMALLER:
        wanted, given = smaller(whole, scale), codec.decode(data, scale=scale).pixels
        assert psnr(given, wanted) > 32, scale
        assert np.abs((given.astype(float) - wanted).mean((0, 1))).max() < 3, scale


def test_a_preview_runs_only_the_first_layers(tiny: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiny.encode(crop(), 3)
    monkeypatch.setattr(tiny.g_s, "run", None)
    stages = [len(tiny.g_s.stages)]
    for scale in SMALLER:
        tiny.decode(data, scale=scale)
        stages.append(len(tiny.preview(scale).transform.stages))
    assert stages == sorted(stages, reverse=True)
    assert stages[-1] == 1


@pytest.mark.parametrize("model", ["tiny", "tiny-icat"])
@pytest.mark.parametrize("scale", SMALLER)
@pytest.mark.parametrize("size", [(1, 1), (1, 130), (33, 64), (65, 63)])
def test_sizes_are_rounded_up(model: str, scale: int, size: tuple[int, int]) -> None:
    """This holds with a preview and without one ("tiny-icat" has none)."""
    data = ticodec.encode(make_pixels(*size), model=model, quality=2)
    height, width = (-(-side // scale) for side in size)
    assert ticodec.decode(data, scale=scale).size == (width, height)


def test_without_a_preview_the_whole_is_reduced() -> None:
    data = ticodec.encode(crop(), model="tiny-icat", quality=2)
    whole = np.asarray(ticodec.decode(data))
    for scale in SMALLER:
        assert np.array_equal(ticodec.decode(data, scale=scale), smaller(whole, scale))


def test_whole_pictures_need_no_preview(store: Path) -> None:
    """They are the same with one: the layers of g_s that a preview shares are not changed."""
    codec = Codec(weights.find("tiny"), "cpu", bf16=False)
    data = codec.encode(crop(), 3)
    before = codec.decode(data, scale=1).pixels
    codec.decode(data, scale=2)
    (store / "tiny-preview.safetensors").unlink()
    assert np.array_equal(codec.decode(data).pixels, before)


def test_a_smaller_picture_has_alpha_and_metadata(tiny: Codec) -> None:
    alpha = make_pixels(50, 71, 3)[..., 0]
    metadata = {"icc": b"icc" * 50, "exif": b"Exif\0\0MM\0*" + bytes(20)}
    picture = Picture(make_pixels(50, 71, 3), alpha=alpha, metadata=metadata)
    decoded = tiny.decode(tiny.encode(picture, 3), scale=4)
    assert decoded.pixels.shape == (13, 18, 3)
    assert np.array_equal(decoded.alpha, smaller(alpha, 4))
    assert decoded.metadata == metadata
    assert decoded.to_image().mode == "RGBA"


def test_grey_stays_grey() -> None:
    data = ticodec.encode(make_pixels(40, 50)[..., 0], model="tiny")
    assert ticodec.decode(data, scale=2).mode == "L"


@pytest.mark.usefixtures("bf16")
def test_previews_in_float32_and_bf16(store: Path) -> None:
    codec = ticodec.load("tiny", device="cpu")
    data = codec.encode(crop(), 3)
    wanted = smaller(codec.decode(data).pixels, 4)
    assert psnr(codec.decode(data, scale=4).pixels, wanted) > 30


@pytest.mark.parametrize("scale", [0, 3, 16, -2, 2.0, "2", True, None])
def test_other_scales_are_refused(tiny: Codec, scale: object) -> None:
    data = tiny.encode(make_pixels(8, 8), 1)
    for decode in (tiny.decode, ticodec.decode):
        with pytest.raises(UsageError, match="`scale` must be"):
            decode(data, scale=scale)


def test_a_preview_that_is_missing_or_damaged(store: Path) -> None:
    codec = Codec(weights.find("tiny"), "cpu", bf16=False)
    data = codec.encode(make_pixels(8, 8), 1)
    file = store / "tiny-preview.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(BadInputError, match=r"tiny-preview.*not the file that the manifest names"):
        codec.decode(data, scale=2)
    file.unlink()
    with pytest.raises(BadInputError, match="the preview of tiny is missing"):
        codec.decode(data, scale=2)


@pytest.mark.parametrize(
    ("fields", "tensors", "message"),
    [
        ({"preview": "{}"}, {}, "this preview belongs to weights None, not to tiny"),
        ({"preview": json.dumps({"fingerprint": "37eb2f07"})}, {}, "not a preview of these wei"),
        (
            {"preview": json.dumps({"fingerprint": "37eb2f07"})},
            {f"layers.{s}.conv.{x}": torch.zeros(1) for s in SMALLER for x in ("weight", "bias")},
            "not a preview of these wei",
        ),
        ({"config": "{}"}, {}, "not a preview of ticodec"),
    ],
)
def test_files_that_are_no_preview_of_the_weights(
    tmp_path: Path, tiny: Codec, fields: dict, tensors: dict, message: str
) -> None:
    file = tmp_path / "other.safetensors"
    data = safetensors_bytes(tensors, {"format": "1", **fields})
    file.write_bytes(data)
    sha256 = weights.store.hashlib.sha256(data).hexdigest()
    entry = replace(tiny.entry, preview=weights.PreviewEntry(file, sha256))
    coded = tiny.encode(make_pixels(8, 8), 1)
    codec = Codec(entry, "cpu", bf16=False)
    with pytest.raises(BadInputError, match=message):
        codec.decode(coded, scale=8)


def test_pixels_of_a_position_are_adjacent() -> None:
    rows = torch.arange(2 * 3 * 12).view(2, 3, 12)
    pixels = shuffled(rows)
    assert pixels.shape == (4, 6, 3)
    assert pixels[2, 4].tolist() == rows[1, 2, :3].tolist()
    assert pixels[2, 5].tolist() == rows[1, 2, 3:6].tolist()
    assert pixels[3, 4].tolist() == rows[1, 2, 6:9].tolist()


@pytest.mark.parametrize("model", ["tiny", "tiny-icat"])
@pytest.mark.parametrize("scale", SMALLER)
def test_a_part_of_a_smaller_picture(model: str, scale: int) -> None:
    """It has all of its pixels that overlap the part, and alpha too."""
    alpha = make_pixels(161, 299, 3)[..., 0]
    codec = ticodec.load(model, device="cpu", bf16=False)
    data = codec.encode(replace(crop(), alpha=alpha), 2)
    whole, small = (
        codec.decode(data, scale=scale),
        codec.decode(data, crop=(19, 9, 90, 60), scale=scale),
    )
    part = slice(9 // scale, -(-69 // scale)), slice(19 // scale, -(-109 // scale))
    assert np.abs(small.pixels.astype(int) - whole.pixels[part]).max() <= 1
    assert np.array_equal(small.alpha, whole.alpha[part])
