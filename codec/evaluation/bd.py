"""Bjøntegaard deltas between curves, and the published curves to compare with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

from ticodec.ms_ssim import decibel

from .packages import evaluation_packages

PUBLISHED = Path(__file__).parent / "published.json"


class Row(Protocol):
    """A point of a curve: a measurement, or means of measurements."""

    @property
    def bpp(self) -> float: ...
    @property
    def psnr(self) -> float | None: ...
    @property
    def ms_ssim(self) -> float | None: ...


@dataclass(frozen=True)
class Curve:
    """The quality of a codec over the rate: (bits per pixel, dB) pairs, sorted by rate.

    A point whose metric is infinite (lossless) or missing (the image is too small) has no pair.
    """

    name: str
    psnr: tuple[tuple[float, float], ...]
    ms_ssim: tuple[tuple[float, float], ...] = ()

    def of(self, metric: str) -> tuple[tuple[float, float], ...]:
        """The pairs of "psnr" or "ms_ssim"."""
        return self.psnr if metric == "psnr" else self.ms_ssim


def curve_of(name: str, rows: Sequence[Row]) -> Curve:
    """The curve through measurements or means, which may be in any order."""
    psnr = [(row.bpp, row.psnr) for row in rows if row.psnr is not None]
    similar = [(row.bpp, finite_decibel(row.ms_ssim)) for row in rows]
    ms_ssim = [(rate, db) for rate, db in similar if db is not None]
    return Curve(name, tuple(sorted(psnr)), tuple(sorted(ms_ssim)))


def finite_decibel(similarity: float | None) -> float | None:
    """MS-SSIM in dB, or None if it was not measured or is exactly 1."""
    return None if similarity is None or similarity >= 1 else decibel(similarity)


@dataclass(frozen=True)
class Delta:
    """How one curve compares with another in one metric.

    Args:
        rate: BD-rate in per cent, negative if the test curve needs fewer bits.
        low_db, high_db: the range of dB that both curves reach. The BD-rate is taken over it.
        share: the share of the test curve's own range of dB that this range covers, 0 … 1.
        gain: BD-PSNR or BD-MS-SSIM in dB, positive if the test curve is better.
        low_bpp, high_bpp: the range of bits per pixel that both curves reach. The gain is taken
            over it.
        why: why there is no rate, or "".

    Numbers that do not exist are None.
    """

    rate: float | None = None
    low_db: float | None = None
    high_db: float | None = None
    share: float | None = None
    gain: float | None = None
    low_bpp: float | None = None
    high_bpp: float | None = None
    why: str = ""


def delta(anchor: Curve, test: Curve, metric: str = "psnr") -> Delta:
    """BD-rate and BD gain of `test` against `anchor` (Bjøntegaard 2001, with PCHIP).

    PCHIP interpolates between dB and the logarithm of the rate. The integral covers the range in
    which both curves have values. Nothing is extrapolated.
    """
    with evaluation_packages():
        from bjontegaard import bd_psnr, bd_rate

    for curve in (anchor, test):
        pairs = curve.of(metric)
        if len(pairs) < 2:
            return Delta(why=f"{curve.name} has {'one point' if pairs else 'no points'}")
        if any(a[0] >= b[0] or a[1] >= b[1] for a, b in pairwise(pairs)):
            return Delta(why=f"{curve.name} is not rising")
    rates_a, dbs_a = _axes(anchor.of(metric))
    rates_t, dbs_t = _axes(test.of(metric))
    low_db, high_db = max(dbs_a[0], dbs_t[0]), min(dbs_a[-1], dbs_t[-1])
    low_bpp, high_bpp = max(rates_a[0], rates_t[0]), min(rates_a[-1], rates_t[-1])
    options: dict[str, Any] = {"method": "pchip", "require_matching_points": False}
    options["min_overlap"] = 0
    fields: dict[str, float] = {}
    if low_db < high_db:
        rate = float(bd_rate(rates_a, dbs_a, rates_t, dbs_t, **options))
        fields = {"rate": rate, "low_db": low_db, "high_db": high_db}
        fields["share"] = (high_db - low_db) / (dbs_t[-1] - dbs_t[0])
    if low_bpp < high_bpp:
        gain = float(bd_psnr(rates_a, dbs_a, rates_t, dbs_t, **options))
        fields |= {"gain": gain, "low_bpp": low_bpp, "high_bpp": high_bpp}
    return Delta(**fields, why="" if "rate" in fields else "no common range")


def _axes(pairs: Iterable[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """The rates and the dB of a curve's pairs."""
    rates, dbs = zip(*pairs, strict=True)
    return list(rates), list(dbs)


@lru_cache(maxsize=1)
def _published() -> dict[str, Any]:
    return dict(json.loads(PUBLISHED.read_text()))


def published() -> list[Curve]:
    """The published curves on the 24 Kodak images. They are part of this package."""
    return [
        Curve(
            name,
            tuple(zip(fields["bpp"], fields["psnr"], strict=True)),
            tuple(zip(fields["bpp"], map(decibel, fields["ms_ssim"]), strict=True))
            if "ms_ssim" in fields
            else (),
        )
        for name, fields in _published()["curves"].items()
    ]


def is_kodak(digests: Iterable[str]) -> bool:
    """Whether images are the 24 Kodak images.

    Args:
        digests: the SHA-256 of the RGB pixels of each image.
    """
    return sorted(digest[:16] for digest in digests) == _published()["kodak"]
