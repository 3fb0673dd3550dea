"""Bjøntegaard deltas between curves, and the published curves they are taken against."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from .metrics import decibel

PUBLISHED = Path(__file__).parent / "published.json"


@dataclass(frozen=True)
class Curve:
    """A codec's mean rates and qualities.

    Args:
        name: of the codec; rates: bits a pixel; psnr: dB; ms_ssim: dB, or None where it was
            not measured. All in the same order.
    """

    name: str
    rates: tuple[float, ...]
    psnr: tuple[float, ...]
    ms_ssim: tuple[float, ...] | None

    def of(self, metric: str) -> list[tuple[float, float]] | None:
        """(rate, dB) pairs of "psnr" or "ms_ssim", rising in rate; None when not measured."""
        values = self.psnr if metric == "psnr" else self.ms_ssim
        return None if values is None else sorted(zip(self.rates, values, strict=True))


@dataclass(frozen=True)
class Delta:
    """How one curve compares with another in one metric.

    Args:
        rate: BD-rate in per cent, negative where the test needs fewer bits; None without a
            result, `why` says why.
        gain: BD-PSNR (or BD-MS-SSIM), dB, positive where the test is better.
        low, high: the dB both curves reach, over which the rates are compared.
        share: of the test curve's dB range, 0 … 1.
    """

    rate: float | None
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    share: float | None = None
    why: str = ""


def delta(anchor: Curve, test: Curve, metric: str = "psnr") -> Delta:
    """BD-rate and BD-gain of `test` against `anchor` (Bjøntegaard 2001, with PCHIP).

    PCHIP through (dB, log rate), integrated over the overlap; no extrapolation.
    """
    from bjontegaard import bd_psnr, bd_rate

    points = [curve.of(metric) or [] for curve in (anchor, test)]
    if not all(points):
        return Delta(None, why="not measured")
    for curve, pairs in zip((anchor, test), points, strict=True):
        if len(pairs) < 2:
            return Delta(None, why=f"{curve.name} has one point")
        if not all(math.isfinite(db) for _, db in pairs):
            return Delta(None, why=f"{curve.name} is lossless at a point")
        if any(a[0] >= b[0] or a[1] >= b[1] for a, b in pairwise(pairs)):
            return Delta(None, why=f"{curve.name} is not rising")
    rates_a, dbs_a, rates_t, dbs_t = (
        [pair[axis] for pair in pairs] for pairs in points for axis in (0, 1)
    )
    low, high = max(dbs_a[0], dbs_t[0]), min(dbs_a[-1], dbs_t[-1])
    if low >= high:
        return Delta(None, why="no quality that both reach")
    options: dict[str, Any] = {"require_matching_points": False, "min_overlap": 0}
    lists = (rates_a, dbs_a, rates_t, dbs_t)
    rates_meet = max(rates_a[0], rates_t[0]) < min(rates_a[-1], rates_t[-1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rate = float(bd_rate(*lists, method="pchip", **options))
        gain = float(bd_psnr(*lists, method="pchip", **options)) if rates_meet else None
    return Delta(rate, gain, low, high, (high - low) / (dbs_t[-1] - dbs_t[0]))


@lru_cache(maxsize=1)
def _published() -> dict[str, Any]:
    return dict(json.loads(PUBLISHED.read_text()))


def published() -> list[Curve]:
    """The published curves on the 24 Kodak images that ship with ticodec."""
    return [
        Curve(
            name,
            tuple(fields["bpp"]),
            tuple(fields["psnr"]),
            tuple(map(decibel, fields["ms_ssim"])) if "ms_ssim" in fields else None,
        )
        for name, fields in _published()["curves"].items()
    ]


def is_kodak(digests: Iterable[str]) -> bool:
    """Whether images are the 24 Kodak ones, by the SHA-256 of their RGB pixels."""
    return sorted(digest[:16] for digest in digests) == _published()["kodak"]


def mean_of(values: list[float]) -> float:
    """Arithmetic mean, the way published curves average over images."""
    return float(np.mean(values))
