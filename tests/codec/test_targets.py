"""Targets: valid values, which results meet them, and how people write them."""

from __future__ import annotations

import math
import pickle
from fractions import Fraction

import pytest

import ticodec
from ticodec.errors import UsageError
from ticodec.targets import Measure, Target, target_of


@pytest.mark.parametrize(
    ("measure", "text", "value"),
    [
        ("size", "200k", 200_000),
        ("size", "200kB", 200_000),
        ("size", "1.5MB", 1_500_000),
        ("size", ".5k", 500),
        ("size", " 2 m ", 2_000_000),
        ("size", "195KiB", 195 * 1024),
        ("size", "200000", 200_000),
        ("size", "1000", 1000),
        ("size", "50B", 50),
        ("size", "200000B", 200_000),
        ("bpp", "0.5", 0.5),
        ("bpp", ".5bpp", 0.5),
        ("psnr", "35", 35),
        ("psnr", "35.5 dB", 35.5),
        ("ms-ssim", "15dB", 15),
        ("ms-ssim", "15", 15),
        ("ms-ssim", "9.5dB", 9.5),
        ("ms-ssim", "0.97", -10 * math.log10(0.03)),
    ],
)
def test_texts_that_people_write(measure: Measure, text: str, value: float) -> None:
    target = target_of(measure, text, "--it", nearest=True)
    assert (target.measure, target.value) == (measure, pytest.approx(value))
    assert target.nearest


@pytest.mark.parametrize(
    ("measure", "texts"),
    [
        (
            "size",
            (
                "much",
                "0",
                "-5k",
                "5 apples",
                "1e3",
                "",
                "9" * 400,
                "\N{FULLWIDTH DIGIT ONE}k",
                "1\N{KELVIN SIGN}",
            ),
        ),
        ("bpp", ("0", "-1", "\N{ARABIC-INDIC DIGIT FIVE}", "0.5dB", "nan", "half")),
        ("psnr", ("0", "inf", "35 bpp", "35,5")),
        ("ms-ssim", ("0", "1", "1.0", "0.1", "0.9dB", "97%", "15 dBs")),
    ],
)
def test_texts_that_are_not_targets(measure: Measure, texts: tuple[str, ...]) -> None:
    for text in texts:
        with pytest.raises(UsageError, match=r"^--it takes .*, not ") as error:
            target_of(measure, text, "--it")
        assert repr(text) in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("50", "50k is 50,000 bytes, 50B is 50 bytes"),
        (" 999 ", "999k is 999,000 bytes, 999B is 999 bytes"),
        ("1.5", "1.5k is 1,500 bytes, 1.5M is 1,500,000 bytes"),
    ],
)
def test_a_small_size_needs_a_unit(text: str, said: str) -> None:
    with pytest.raises(UsageError) as error:
        target_of("size", text, "--it")
    assert str(error.value) == f"--it {text.strip()}: write a unit: {said}"
    assert Target("size", 50).value == 50


@pytest.mark.parametrize(
    ("measure", "value", "said"),
    [
        ("ssim", 1.0, "`measure` must be size, bpp, psnr, ms-ssim, not 'ssim'"),
        ("bpp", "1", "`value` must be a number, not str"),
        ("bpp", True, "`value` must be a number, not bool"),
        ("psnr", 0, "`value` must be positive and finite, not 0"),
        ("ms-ssim", 0.97, "`value` of an MS-SSIM must be in dB, such as 15 for 0.968, not 0.97"),
        ("psnr", -3.5, "`value` must be positive and finite, not -3.5"),
        ("psnr", math.nan, "`value` must be positive and finite, not nan"),
        ("size", math.inf, "`value` must be positive and finite, not inf"),
        pytest.param(
            "size", 10**400, "`value` must be positive and finite, not inf", id="no float"
        ),
    ],
)
def test_bad_targets(measure, value, said: str) -> None:
    with pytest.raises(UsageError) as error:
        ticodec.Target(measure, value)
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("target", "said", "accepted", "reached"),
    [
        (Target("size", 200_000), "200,000 bytes", (196_000, 200_000), "35 bytes"),
        (Target("bpp", 0.5), "0.5 bpp", (0.49, 0.5), "35.042 bpp"),
        (Target("psnr", 35), "35 dB PSNR", (35, 35.1), "35.04 dB PSNR"),
        (Target("ms-ssim", 15.25), "15.25 dB MS-SSIM", (15.25, 15.35), "35.04 dB MS-SSIM"),
    ],
)
def test_words_and_tolerances(
    target: Target, said: str, accepted: tuple[float, float], reached: str
) -> None:
    assert str(target) == said
    assert target.accepted == pytest.approx(accepted)
    assert target.said(35.042) == reached


def test_any_real_number_is_accepted() -> None:
    target = Target("psnr", Fraction(71, 2))
    assert (str(target), target) == ("35.5 dB PSNR", Target("psnr", 35.5))


def test_targets_can_be_sent_to_workers() -> None:
    target = Target("psnr", 35.5, nearest=True)
    assert pickle.loads(pickle.dumps(target)) == target
    assert len({target, Target("psnr", 35.5, True)}) == 1
