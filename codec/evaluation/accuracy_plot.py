"""A plot of accuracy over rate, for labels from the bitstream and from decoded pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .accuracy import Accuracy
from .plots import COLOURS, GROUNDS, Pairs, frame, line, picture
from .summary import Point


def accuracy_plot(
    points: Mapping[str, Sequence[Point]],
    original: Accuracy | None,
    title: str,
    format: str = "svg",
    dark: bool = False,
) -> bytes | None:
    """Top-1 accuracy over bits per pixel.

    Lines are solid for labels from the bitstream and dashed for labels from decoded pixels.

    Args:
        points: means by coder. A coder has the same colour as in other plots.
        original: accuracy on the original pixels, drawn as a horizontal line.
        format: "svg" or "png".
        dark: draw for a dark background.

    Returns the bytes of the file, which are the same for the same points, or None if there is no
    accuracy.
    """
    read = {name: _pairs(rows, "top1") for name, rows in points.items()}
    shown = {name: _pairs(rows, "pixel_top1") for name, rows in points.items()}
    drawn = [pairs for pairs in (*read.values(), *shown.values()) if pairs]
    if not drawn:
        return None

    def draw(axes: Any) -> None:
        for number, name in enumerate(points):
            style: dict[str, Any] = {"color": COLOURS[number % len(COLOURS)], "marker": "o"}
            strong = {"linewidth": 2.6, "markersize": 5, "zorder": 10 - number / 100}
            line(axes, read[name], f"{name}, bitstream", **style, **strong)
            weak = {"linewidth": 1.3, "markersize": 3, "linestyle": "--", "zorder": 5}
            line(axes, shown[name], f"{name}, pixels", **style, **weak)
        levels: list[Pairs] = []
        if original:
            level = 100 * original.top1
            style = {"color": GROUNDS[dark][1], "linestyle": ":", "linewidth": 1.4}
            axes.axhline(level, label="original, pixels", **style)
            levels.append([(0.0, level)])
        frame(axes, [*drawn, *levels], 1.0)

    return picture(draw, title, "top-1 accuracy, %", format, dark, loc="best", fontsize=9)


def _pairs(points: Sequence[Point], name: str) -> Pairs:
    """(bits per pixel, accuracy in per cent) of the points that have one, sorted by bits."""
    shares = [(point.bpp, getattr(point, name)) for point in points]
    return sorted((rate, 100 * share) for rate, share in shares if share is not None)
