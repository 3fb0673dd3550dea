"""The search for a quality: it ends, finds the right file, and reports what the file reaches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import make_pixels

import ticodec
from ticodec import container, refinement
from ticodec.errors import TicodecError, UsageError
from ticodec.ms_ssim import decibel, ms_ssim
from ticodec.picture import Picture
from ticodec.psnr import psnr
from ticodec.quality import check_quality
from ticodec.rate_control import reach
from ticodec.rate_search import FREE, Aim, Curve, search
from ticodec.targets import Measure, Target

LOW, HIGH = 4096, 8 * 4096


@dataclass(frozen=True)
class Tried:
    stored: int
    value: float


def rising(steps: list[float]) -> Curve:
    """A curve that rises by these steps at even distances from `LOW` to `HIGH`."""
    stored = np.linspace(LOW, HIGH, len(steps)).round().astype(int)
    return Curve(stored.tolist(), list(accumulate(steps)))


curves = st.lists(st.floats(0, 10), min_size=2, max_size=12).map(rising)


@settings(max_examples=200, deadline=None)
@given(
    truth=curves,
    guess=curves,
    least=st.floats(-5, 130),
    wide=st.floats(0, 1),
    at_most=st.booleans(),
)
@example(rising([0, 2]), rising([0, 2.2250738585072014e-308]), 1, 0, False)
def test_a_search_ends_and_finds_a_quality_if_there_is_one(
    truth: Curve, guess: Curve, least: float, wide: float, at_most: bool
) -> None:
    """This holds for any curve, guess and target."""
    aim, tried = Aim(least, least + wide, at_most), []

    def attempt(stored: int) -> Tried:
        assert LOW <= stored <= HIGH
        assert stored not in tried, "nothing is tried twice"
        tried.append(stored)
        return Tried(stored, truth.value(stored))

    found = search(aim, guess, attempt)
    assert found.trials == len(tried) <= FREE + 2 * 15 + 2
    values = np.interp(range(LOW, HIGH + 1), truth.stored, truth.values)
    will_do = (values >= aim.least) & (values <= aim.most)
    if will_do.any():
        assert aim.least <= found.best.value <= aim.most
        assert found.end == 0
    elif values[0] > aim.most:
        assert (found.best.stored, found.end) == (LOW, -1)
    elif values[-1] < aim.least:
        assert (found.best.stored, found.end) == (HIGH, 1)
    else:  # the curve jumps over the target
        assert found.end == 0
        nearest = values[values < aim.least].max() if at_most else values[values > aim.most].min()
        assert found.best.value == nearest


def test_a_good_guess_is_not_corrected() -> None:
    """A right guess takes one trial, a moved guess two, and a stretched guess three."""
    truth = rising([1, *(0.3 / (1 + n / 7) for n in range(7))])
    aim = Aim(1.495, 1.505, at_most=True)
    for guess, trials in (
        (truth, 1),
        (Curve(truth.stored, [value + 0.4 for value in truth.values]), 2),
        (Curve(truth.stored, [2 * value for value in truth.values]), 3),
    ):
        found = search(aim, guess, lambda stored: Tried(stored, truth.value(stored)))
        assert found.trials == trials


def test_a_search_with_few_trials_returns_the_best_one() -> None:
    truth, guess = rising([0, 0, 0, 9]), rising([0, 3, 3, 3])
    attempt = lambda stored: Tried(stored, truth.value(stored))  # noqa: E731
    for at_most in (False, True):
        found = search(Aim(4, 4.001, at_most), guess, attempt, most=3)
        assert found.trials == 3
        assert found.end == 0
        assert (found.best.value < 4) == at_most


# -- with a codec -------------------------------------------------------------------


def reached_by(measure: Measure, picture: Picture, data: bytes) -> float:
    """The value that a file reaches, measured from the file alone."""
    if measure == "size":
        return len(data)
    if measure == "bpp":
        return 8 * len(data) / (picture.pixels.shape[0] * picture.pixels.shape[1])
    decoded = np.asarray(ticodec.decode(data, device="cpu").convert("RGB"))
    if measure == "psnr":
        return psnr(picture.pixels, decoded)
    return decibel(ms_ssim(picture.pixels, decoded) or 0)


@pytest.mark.parametrize("grey", [False, True])
def test_files_reach_their_target(tiny, grey: bool) -> None:
    """This is checked by the file and its decoded picture. The file includes alpha and metadata."""
    pixels = make_pixels(170, 190)
    if grey:
        pixels = np.repeat(pixels[..., :1], 3, -1)
    alpha = np.arange(170 * 190).reshape(170, 190).astype(np.uint8)
    picture = Picture(pixels, grey, alpha, {"exif": b"x" * 500})
    middle = tiny.encode(picture, 4.3)
    for measure in ("size", "bpp", "psnr", "ms-ssim"):
        value = reached_by(measure, picture, middle)
        target = Target(measure, value * 1.005 if measure in ("size", "bpp") else value - 0.05)
        found = reach(tiny, picture, target, 1)
        data = container.write(found.container)
        assert data == tiny.encode(picture, target)
        assert found.value == reached_by(measure, picture, data)
        least, most = target.accepted
        assert least <= found.value <= most
        assert not found.out_of_reach
        assert found.trials <= 6


def test_tiny_pictures(tiny) -> None:
    """Their sizes jump, but never exceed the target."""
    picture = Picture(make_pixels(1, 1))
    sizes = [len(tiny.encode(picture, quality)) for quality in (1, 8)]
    for size in range(min(sizes), max(sizes) + 1):
        assert min(sizes) <= len(tiny.encode(picture, Target("size", size))) <= size


def test_out_of_reach(tiny, picture) -> None:
    photo = picture(70, 90)
    low, high = (tiny.encode(photo, quality) for quality in (1, 8))
    best = reached_by("psnr", photo, high)
    for target, nearest, words in (
        (("size", 30), low, f"30 bytes cannot be reached; the smallest file has {len(low)} bytes"),
        (("psnr", 60), high, f"60 dB PSNR cannot be reached; the largest file has {best:.2f}"),
        (("bpp", 0.001), low, "0.001 bpp cannot be reached; the smallest file has"),
    ):
        with pytest.raises(TicodecError) as error:
            tiny.encode(photo, Target(*target))
        assert words in str(error.value)
        assert str(error.value).endswith("; give `nearest` to take that file")
        assert error.value.exit_code == 1
        assert tiny.encode(photo, Target(*target, nearest=True)) == nearest
        assert reach(tiny, photo, Target(*target, nearest=True), 1).out_of_reach


def test_targets_that_every_quality_meets(tiny, picture) -> None:
    """If the largest file is small enough, it is taken. If the smallest is good enough, it is."""
    photo = picture(70, 90)
    low, high = (tiny.encode(photo, quality) for quality in (1, 8))
    for target, wanted in ((("size", 10**6), high), (("bpp", 50), high), (("psnr", 5), low)):
        found = reach(tiny, photo, Target(*target), 1)
        assert container.write(found.container) == wanted
        assert (found.at_end, found.out_of_reach) == (True, False)


def test_metadata_that_fills_the_file(tiny, picture) -> None:
    photo = picture(70, 90)
    photo.metadata["exif"] = np.random.default_rng(0).bytes(3000)
    with pytest.raises(TicodecError, match=r"bytes of it are metadata, which `strip` leaves out"):
        tiny.encode(photo, Target("size", 3000))


def test_models_and_pictures_that_cannot_have_a_target(tiny, joint, picture, monkeypatch) -> None:
    with pytest.raises(UsageError, match=r"MS-SSIM needs 161 pixels each way, .* has 200×160"):
        tiny.encode(picture(160, 200), Target("ms-ssim", 12))
    monkeypatch.setattr("ticodec.memory.available", lambda: 10**9)
    with pytest.raises(TicodecError, match=r"^MS-SSIM of 3000×3000 pixels needs about 1.07 GiB of"):
        reach(tiny, Picture(np.zeros((3000, 3000, 3), np.uint8)), Target("ms-ssim", 12), 1)
    target = Target("bpp", 0.5)
    check_quality(joint.entry, target)
    with pytest.raises(UsageError, match=r"^joint has one fixed quality, so it cannot aim at 0"):
        check_quality(replace(joint.entry, qualities=None), target)


def test_refined_files_reach_their_target(tiny, picture, monkeypatch) -> None:
    """Refined latents take fewer bytes, and the quality is corrected for that."""
    asked: list[int] = []

    def refined(codec, pixels, features, stored, effort, progress=lambda share: None):
        asked.append(stored)
        progress(1)
        y, z = codec.scaled(features, stored)
        return y * 0.9, z

    monkeypatch.setattr(refinement, "refined", refined)
    photo, seen = picture(120, 90), []
    target = Target("size", len(tiny.encode(photo, 4)))
    found = reach(tiny, photo, target, 3, seen.append)
    assert 0.98 * target.value <= found.container.size <= target.value
    assert found.container.header.quality == asked[-1] > 4.1 * 4096
    assert 1 < len(asked) <= 3
    assert seen == sorted(seen)
    assert seen[-1] == 1


@pytest.mark.parametrize("share", [0.985, 1])
def test_if_no_refined_file_reaches_the_target(tiny, picture, monkeypatch, share: float) -> None:
    """The file without refinement is taken, so that any effort reaches what effort 1 reaches.

    Args:
        share: size of the smallest file of effort 1 as a share of the target.
    """

    def refined(codec, pixels, features, stored, effort, progress=lambda share: None):
        y, z = codec.scaled(features, stored)
        return y * 3, z  # much larger files

    monkeypatch.setattr(refinement, "refined", refined)
    photo = picture(70, 90)
    target = Target("size", len(tiny.encode(photo, 1)) // share)
    found = reach(tiny, photo, target, 2)
    assert 0.98 * target.value <= found.value == found.container.size <= target.value
    assert container.write(found.container) == tiny.encode(photo, target)


def test_progress_never_goes_back(tiny, picture) -> None:
    seen: list[float] = []
    target = Target("psnr", 24, nearest=True)
    tiny.containers([picture(70, 90), picture(64, 64)], target, progress=seen.append)
    assert seen == sorted(seen)
    assert len(set(seen)) > 4
    assert seen[-1] == 1
