"""The seconds that more effort costs, and the bits that it saves.

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
    """One effort of a model, compared with the least effort of the same model.

    Args:
        model: name of the model.
        effort: 1 … 9.
        seconds: seconds to encode an image, the mean over all images and settings.
        psnr, ms_ssim: BD-rates against the least effort, in PSNR and in MS-SSIM.
        others: BD-rates in PSNR against each codec that is not one of our models, by name.
    """

    model: str
    effort: int
    seconds: float
    psnr: Delta
    ms_ssim: Delta
    others: dict[str, Delta]


def steps(run: Evaluation, curves: Sequence[Curve]) -> list[Step]:
    """The efforts of every model that was measured with several efforts, the least effort first.

    Args:
        curves: the curves of the run's coders, in their order.
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
    """Lines that say what the table and the plot of efforts show, or no lines without steps."""
    if not steps:
        return []
    return [
        "Efforts: seconds are means over images and qualities. BD-rates are against the least "
        "effort of the same model, unless another codec is named. Negative means fewer bits."
    ]


def _seconds(run: Evaluation, coder: Coder) -> float:
    return fmean(
        run.measured(source, coder, setting).encode_seconds
        for source in run.sources
        for setting in coder.ladder
    )
