"""What more effort takes in seconds and saves in bits.

measurements ─► seconds ──────────────────┐
curves ─► BD-rate against least effort ───┴─► steps ─► table, plot
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from .bd import Curve, Delta, delta
from .coder import Coder
from .measure import Evaluation


@dataclass(frozen=True)
class Step:
    """One effort of a model, against the least effort of the same model.

    Args:
        model: its name; effort: 1 … 9.
        seconds: to encode an image, mean over all images and settings.
        psnr, ms_ssim: BD-rates against the least effort, in %; negative means fewer bits.
        others: BD-rates in PSNR against each codec that is not one of our models, by name.
    """

    model: str
    effort: int
    seconds: float
    psnr: Delta
    ms_ssim: Delta
    others: dict[str, Delta]


def steps(run: Evaluation, curves: Sequence[Curve]) -> list[Step]:
    """The efforts of every model that was measured at several, each model's least effort first.

    Args:
        curves: of the run's coders, in their order.
    """
    pairs = list(zip(run.coders, curves, strict=True))
    others = [curve for coder, curve in pairs if not coder.model]
    found = []
    for model in dict.fromkeys(coder.model for coder in run.coders if coder.model):
        own = sorted(
            (pair for pair in pairs if pair[0].model == model), key=lambda pair: pair[0].effort
        )
        if len(own) > 1:
            least = own[0][1]
            found += [
                Step(
                    model,
                    coder.effort,
                    _seconds(run, coder),
                    delta(least, curve, "psnr"),
                    delta(least, curve, "ms_ssim"),
                    {other.name: delta(other, curve, "psnr") for other in others},
                )
                for coder, curve in own
            ]
    return found


def notes(steps: Sequence[Step]) -> list[str]:
    """Lines that say what the table and the plot of efforts show: none without steps."""
    if not steps:
        return []
    return [
        "Efforts: seconds are means over images and qualities. BD-rates are against the least "
        "effort of the same model, unless another codec is named; negative is fewer bits."
    ]


def _seconds(run: Evaluation, coder: Coder) -> float:
    return fmean(
        run.measured(source, coder, setting).encode_seconds
        for source in run.sources
        for setting in coder.ladder
    )
