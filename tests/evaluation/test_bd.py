"""BD-rates of published curves with known values, and curves that cannot be compared."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pytest

from ticodec.evaluation import bd
from ticodec.evaluation.bd import Curve, curve_of, delta

PUBLISHED = {curve.name: curve for curve in bd.published()}


@pytest.mark.parametrize(
    ("test", "anchor", "percent"),
    [
        ("JPEG", "BPG 4:4:4", 143.0),
        ("JPEG 2000", "BPG 4:4:4", 55.8),
        ("WebP", "BPG 4:4:4", 44.2),
        ("AV1", "BPG 4:4:4", -6.2),
        ("VTM", "BPG 4:4:4", -18.0),
        ("mbt2018", "BPG 4:4:4", -11.3),
        ("ELIC (paper)", "BPG 4:4:4", -26.6),
        ("JPEG", "VTM", 208.5),
        ("cheng2020-anchor", "VTM", 3.7),
    ],
)
def test_published_bd_rates(test: str, anchor: str, percent: float) -> None:
    assert delta(PUBLISHED[anchor], PUBLISHED[test]).rate == pytest.approx(percent, abs=0.5)


@dataclass
class Row:
    bpp: float
    psnr: float | None = None
    ms_ssim: float | None = None


def curve(rates, psnr, name="it") -> Curve:
    return curve_of(name, [Row(*pair) for pair in zip(rates, psnr, strict=True)])


def test_half_the_rate_is_minus_fifty_per_cent() -> None:
    anchor = curve([0.2, 0.4, 0.8, 1.6], [28, 30, 32, 34])
    test = curve([0.8, 0.1, 0.2, 0.4], [34, 28, 30, 32])  # in any order
    found = delta(anchor, test)
    assert found.rate == pytest.approx(-50)
    assert (found.low_db, found.high_db, found.share) == (28, 34, 1)
    assert found.gain == pytest.approx(2)
    assert (found.low_bpp, found.high_bpp) == (0.2, 0.8)


def test_ms_ssim_is_compared_in_decibels() -> None:
    anchor = curve_of("a", [Row(0.2, None, 0.9), Row(0.4, None, 0.99), Row(0.8, None, 0.999)])
    test = curve_of("b", [Row(0.1, None, 0.9), Row(0.2, None, 0.99), Row(0.4, None, 0.999)])
    found = delta(anchor, test, "ms_ssim")
    assert found.rate == pytest.approx(-50)
    assert found.gain == pytest.approx(10)
    assert (found.low_db, found.high_db) == pytest.approx((10, 30))


def test_only_the_common_range_is_compared() -> None:
    anchor = curve([0.1, 0.2, 0.4], [28, 30, 32])
    test = curve([0.1, 0.2, 0.4, 0.8], [30, 32, 34, 36])
    found = delta(anchor, test)
    assert found.rate == pytest.approx(-50)
    assert (found.low_db, found.high_db, found.share) == (30, 32, pytest.approx(1 / 3))
    apart = delta(curve([1, 2], [40, 42]), curve([0.1, 0.2], [30, 32]))
    assert (apart.rate, apart.gain, apart.why) == (None, None, "no common range")
    no_rate = delta(curve([1, 2], [30, 32]), curve([0.1, 0.2], [30, 32]))
    assert no_rate.rate == pytest.approx(-90)
    assert (no_rate.gain, no_rate.low_bpp) == (None, None)  # no rate is in both ranges
    no_db = delta(curve([0.1, 0.2], [40, 42]), curve([0.1, 0.2], [30, 32]))
    assert (no_db.rate, no_db.low_db) == (None, None)
    assert no_db.gain == pytest.approx(-10)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (curve([0.1], [30]), "it has one point"),
        (curve([0.1, 0.2], [32, 30]), "it is not rising"),
        (curve([0.1, 0.1], [30, 32]), "it is not rising"),
        (curve([], []), "it has no points"),
    ],
)
def test_curves_that_cannot_be_compared_say_why(other: Curve, why: str) -> None:
    good = curve([0.1, 0.2, 0.4], [28, 30, 32], "good")
    for found in (delta(good, other), delta(other, good)):
        assert (found.rate, found.gain, found.why) == (None, None, why)
    assert delta(good, good, "ms_ssim").why == "good has no points"


def test_points_without_a_finite_number_are_left_out() -> None:
    rows = [Row(0.1, 30, 0.9), Row(0.2, 32, None), Row(0.3, None, 1.0), Row(0.4, 36, 0.99)]
    found = curve_of("it", rows)
    assert found.psnr == ((0.1, 30), (0.2, 32), (0.4, 36))
    assert found.ms_ssim == ((0.1, pytest.approx(10)), (0.4, pytest.approx(20)))


def test_kodak_is_recognised_by_its_pixels(sample) -> None:
    import numpy as np
    from PIL import Image

    digest = hashlib.sha256(np.array(Image.open(sample).convert("RGB")).tobytes()).hexdigest()
    known = bd._published()["kodak"]
    assert digest[:16] in known
    assert bd.is_kodak(known)
    assert not bd.is_kodak([digest])
