"""Padding of images to the stride of z: its content, and the bytes that it saves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from support import SAMPLES

import ticodec
from ticodec.models import image_padding
from ticodec.models.image_padding import FADE, PaddedPixels, pad_image


@pytest.mark.parametrize("size", [(1, 1), (1, 65), (64, 3), (63, 64), (100, 70)])
def test_the_image_is_unchanged_and_the_size_a_multiple(size: tuple[int, int]) -> None:
    x = torch.rand(2, *size, 3)
    padded = pad_image(x, 64)
    height, width = (-(-n // 64) * 64 for n in size)
    assert padded.shape == (2, height, width, 3)
    assert padded.is_contiguous()
    assert torch.equal(padded[:, : size[0], : size[1]], x)
    assert padded.min() >= 0
    assert padded.max() <= 1


def test_an_image_of_a_suitable_size_is_not_padded() -> None:
    x = torch.rand(1, 64, 128, 3)
    assert torch.equal(pad_image(x, 64), x)


def test_autocast_changes_nothing() -> None:
    """Classifiers are trained with autocast."""
    x = torch.rand(1, 50, 70, 3)
    with torch.autocast("cpu", torch.bfloat16):
        padded = pad_image(x, 64)
    assert padded.dtype == torch.float32
    assert torch.equal(padded, pad_image(x, 64))


def test_one_colour_stays_one_colour() -> None:
    colour = torch.tensor([0.1, 0.5, 0.9])
    padded = pad_image(colour.expand(1, 33, 47, 3), 32)
    torch.testing.assert_close(padded, colour.expand(1, 64, 64, 3))


def test_the_edge_fades_into_its_blur() -> None:
    stripes = (torch.arange(192) % 2).float()[None, None, :, None].expand(1, 10, 192, 3)
    bottom = pad_image(stripes, 64)[0, 10:, :, 0]
    middle = bottom[:, 64:128]  # elsewhere the blur repeats the first or last stripe
    contrast = middle.amax(1) - middle.amin(1)
    expected = 1 - torch.arange(1, FADE) / FADE
    torch.testing.assert_close(contrast[: FADE - 1], expected, atol=1e-3, rtol=0)
    assert contrast[FADE - 1 :].max() < 0.001
    turned = pad_image(stripes.transpose(1, 2), 64)[0, :, 10:, 0]
    torch.testing.assert_close(turned.T, bottom)


@pytest.mark.parametrize("size", [(1, 1), (1, 65), (64, 128), (100, 70)])
def test_rows_equal_those_of_the_padded_image(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    whole = pad_image(torch.from_numpy(pixels)[None].float() / 255 - 0.5, 64)[0]
    padded = PaddedPixels(pixels, 64)
    assert padded.size == whole.shape
    for first in range(0, len(whole), 48):
        rows = padded.rows(first, min(first + 48, len(whole)))
        assert torch.equal(rows, whole[first : first + 48])


def test_padding_takes_fewer_bytes_than_a_repeated_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    """This holds for shipped weights, on a photo whose last row and column are detailed."""
    codec = ticodec.load("tic-lite", device="cpu", bf16=False)
    pixels = np.asarray(Image.open(SAMPLES / "kodim23.png"))[100:324, 200:424].copy()
    faded = len(codec.encode(pixels, 3))
    monkeypatch.setattr(image_padding, "_blur", lambda edge: edge)
    assert faded < 0.995 * len(codec.encode(pixels, 3))
