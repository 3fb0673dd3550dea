"""BD-rates on published curves, whose values are known, and curves that cannot be compared."""

from __future__ import annotations

import hashlib
import math

import pytest

from ticodec.evaluation import bd
from ticodec.evaluation.bd import Curve, delta

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


def curve(rates, psnr, ms_ssim=None) -> Curve:
    return Curve("it", tuple(rates), tuple(psnr), ms_ssim)


def test_half_the_rate_is_minus_fifty_per_cent() -> None:
    anchor = curve([0.2, 0.4, 0.8, 1.6], [28, 30, 32, 34], (10, 12, 14, 16))
    test = curve([0.8, 0.1, 0.2, 0.4], [34, 28, 30, 32], (16, 10, 12, 14))  # in any order
    for metric in ("psnr", "ms_ssim"):
        found = delta(anchor, test, metric)
        assert found.rate == pytest.approx(-50)
        assert found.gain == pytest.approx(2)
        assert found.share == 1
    assert (found.low, found.high) == (10, 16)


def test_only_what_both_reach_is_compared() -> None:
    anchor = curve([0.1, 0.2, 0.4], [28, 30, 32])
    test = curve([0.1, 0.2, 0.4, 0.8], [30, 32, 34, 36])
    found = delta(anchor, test)
    assert found.rate == pytest.approx(-50)
    assert (found.low, found.high, found.share) == (30, 32, pytest.approx(1 / 3))
    apart = delta(curve([1, 2], [40, 42]), curve([0.1, 0.2], [30, 32]))
    assert (apart.rate, apart.why) == (None, "no quality that both reach")
    no_rate = delta(curve([1, 2], [30, 32]), curve([0.1, 0.2], [30, 32]))
    assert no_rate.rate == pytest.approx(-90)
    assert no_rate.gain is None  # no rate that both have


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (curve([0.1], [30]), "it has one point"),
        (curve([0.1, 0.2], [32, 30]), "it is not rising"),
        (curve([0.1, 0.1], [30, 32]), "it is not rising"),
        (curve([0.1, 0.2], [30, math.inf]), "it is lossless at a point"),
        (curve([], []), "not measured"),
    ],
)
def test_curves_without_an_answer_say_why(other: Curve, why: str) -> None:
    good = curve([0.1, 0.2, 0.4], [28, 30, 32])
    for found in (delta(good, other), delta(other, good)):
        assert (found.rate, found.why) == (None, why)
    assert delta(good, good, "ms_ssim").why == "not measured"


def test_kodak_is_known_by_its_pixels(sample) -> None:
    import numpy as np
    from PIL import Image

    digest = hashlib.sha256(np.array(Image.open(sample).convert("RGB")).tobytes()).hexdigest()
    known = bd._published()["kodak"]
    assert digest[:16] in known
    assert bd.is_kodak(known)
    assert not bd.is_kodak([digest])
