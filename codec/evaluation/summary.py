"""Averages over images, and comparisons of the first coder with the others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import bd
from .accuracy import Accuracy, original, shares
from .bd import Curve, Delta
from .coder import Coder
from .efforts import Step, steps
from .measure import Evaluation


@dataclass(frozen=True)
class Point:
    """Means over all images of one coder at one setting. Units are those of `Measurement`.

    `psnr` is None if an image was decoded without any difference. `ms_ssim` is None if an image is
    too small. `ms_ssim_db` is the mean MS-SSIM in dB.

    The last four fields are accuracies, 0 … 1, over the images whose class is known, or None if
    there are none. `top1` and `top5` are for labels from the coded files, `pixel_top1` and
    `pixel_top5` for labels from the decoded pixels.
    """

    coder: str
    knob: str
    setting: float
    bytes: float
    bpp: float
    psnr: float | None
    ms_ssim: float | None
    ms_ssim_db: float | None
    encode_seconds: float
    decode_seconds: float
    top1: float | None = None
    top5: float | None = None
    pixel_top1: float | None = None
    pixel_top5: float | None = None


@dataclass(frozen=True)
class Comparison:
    """The first coder compared with another one, which was measured too or is published."""

    against: str
    published: bool
    psnr: Delta
    ms_ssim: Delta


@dataclass(frozen=True)
class Summary:
    """All that a report shows of a run.

    Args:
        points: means by coder, in the order of the settings.
        curves: the same points as curves.
        published: published curves to compare with. Empty unless the images are Kodak's.
        comparisons: the first coder against the others, without other efforts of its own model.
        original: accuracy on the original pixels, or None if these were not classified.
        efforts: the efforts of models that were measured with several efforts.
    """

    points: dict[str, list[Point]]
    curves: list[Curve]
    published: list[Curve]
    comparisons: list[Comparison]
    original: Accuracy | None = None
    efforts: list[Step] = field(default_factory=list)

    @property
    def classified(self) -> bool:
        """Whether there are any accuracies."""
        rows = [point for points in self.points.values() for point in points]
        return any(point.top1 is not None or point.pixel_top1 is not None for point in rows)


def summarise(run: Evaluation) -> Summary:
    """Averages, curves and BD-rates of a run."""
    points = {
        coder.name: [_mean(run, coder, setting) for setting in coder.ladder] for coder in run.coders
    }
    curves = [bd.curve_of(name, rows) for name, rows in points.items()]
    published = bd.published() if bd.is_kodak(s.pixels for s in run.sources) else []
    subject = run.coders[0]
    others = [
        curve
        for coder, curve in zip(run.coders[1:], curves[1:], strict=True)
        if not coder.model or coder.model != subject.model
    ]
    comparisons = [
        Comparison(
            other.name,
            other in published,
            bd.delta(other, curves[0], "psnr"),
            bd.delta(other, curves[0], "ms_ssim"),
        )
        for other in [*others, *published]
    ]
    return Summary(points, curves, published, comparisons, original(run), steps(run, curves))


def _mean(run: Evaluation, coder: Coder, setting: float) -> Point:
    rows = [run.measured(source, coder, setting) for source in run.sources]

    def mean(name: str) -> Any:
        values = [getattr(row, name) for row in rows]
        return None if None in values else float(np.mean(values))

    names = ("bytes", "bpp", "psnr", "ms_ssim", "encode_seconds", "decode_seconds")
    means = {name: mean(name) for name in names}
    in_db = bd.finite_decibel(means["ms_ssim"])
    return Point(coder.name, coder.knob, setting, ms_ssim_db=in_db, **means, **shares(rows))
