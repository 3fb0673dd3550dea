"""How often classifiers are right: shares of images, and notes on the images that count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .measure import Evaluation
from .measurements import Measurement

#: Fields of means that hold an accuracy: a share of images, 0 … 1.
OF_MEANS = ("top1", "top5", "pixel_top1", "pixel_top5")


@dataclass(frozen=True)
class Accuracy:
    """How often the right class is the most probable label, or among the best five, 0 … 1.

    Args:
        images: number of images whose class the classifier knows. Other images do not count.
    """

    top1: float
    top5: float
    images: int


def accuracy(rows: Sequence[Measurement], name: str) -> Accuracy | None:
    """The accuracy of one coder's measurements at one setting.

    Returns None if no image has a known class.

    Args:
        name: "rank", "pixel_rank" or "original_rank".
    """
    ranks = [rank for row in rows if (rank := getattr(row, name)) is not None]
    if not ranks:
        return None
    first, five = (sum(rank <= limit for rank in ranks) / len(ranks) for limit in (1, 5))
    return Accuracy(first, five, len(ranks))


def shares(rows: Sequence[Measurement]) -> dict[str, Any]:
    """The fields `OF_MEANS` of measurements of one coder at one setting."""
    fields: dict[str, Any] = dict.fromkeys(OF_MEANS)
    for name, prefix in (("rank", ""), ("pixel_rank", "pixel_")):
        if share := accuracy(rows, name):
            fields |= {f"{prefix}top1": share.top1, f"{prefix}top5": share.top5}
    return fields


def original(run: Evaluation) -> Accuracy | None:
    """The accuracy on the original pixels, or None if no coder's pixels were classified."""
    return accuracy(_rows(run, 0), "original_rank")


def notes(run: Evaluation) -> list[str]:
    """Lines that say what the accuracies measure, and on which images.

    Returns no lines if there are no accuracies.
    """
    whole = len(run.sources)
    read = {
        coder.name: share.images
        for number, coder in enumerate(run.coders)
        if (share := accuracy(_rows(run, number), "rank"))
    }
    shown = original(run)
    lines = []
    if run.classifier and not shown:
        lines.append(
            f"No accuracy of {run.classifier.path.name}: no image is in a folder with the name of "
            "one of its labels."
        )
    if not read and not shown:
        return lines
    text = "Top-1 and top-5: how often the name of an image's folder is the most probable label, "
    text += "or one of the five most probable labels."
    if read:
        text += f" For {' and '.join(read)} the labels are read from the bitstream by the model's "
        text += "classifier; no pixels are decoded."
    if run.classifier and shown:
        text += f" {run.classifier.path.name} reads decoded pixels. On the original pixels its "
        text += f"accuracies are {shown.top1:.1%} and {shown.top5:.1%}."
    lines.append(text)
    counts = read | ({"pixels": shown.images} if shown else {})
    if len(set(counts.values())) > 1:
        several = ", ".join(f"{name} {count}" for name, count in counts.items())
        lines.append(
            f"Number of images, of {whole}, whose class a classifier knows: {several}. Other "
            "images do not count."
        )
    elif (count := next(iter(counts.values()))) < whole:
        lines.append(
            f"Accuracies are over {count} of {whole} images. The folders of the others do not have "
            "the name of a label."
        )
    return lines


def _rows(run: Evaluation, number: int) -> list[Measurement]:
    """The measurements of all images by one coder at its first setting.

    Any setting would do where this is used.
    """
    coder = run.coders[number]
    return [run.measured(source, coder, coder.ladder[0]) for source in run.sources]
