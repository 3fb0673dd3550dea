"""A plot of effort: the bits that it saves, over the seconds that it takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .efforts import Step
from .plots import COLOURS, line, picture


def effort_plot(
    steps: Sequence[Step], title: str, format: str = "svg", dark: bool = False
) -> bytes | None:
    """BD-rate against the least effort, over seconds, with one line per model.

    Numbers at the points are efforts.

    Args:
        format: "svg" or "png".
        dark: draw for a dark background.

    Returns the bytes of the file, which are the same for the same steps, or None if no model has
    two efforts with a BD-rate.
    """
    lines: dict[str, list[tuple[float, float, int]]] = {}
    for step in steps:
        if step.psnr.rate is not None:
            lines.setdefault(step.model, []).append((step.seconds, step.psnr.rate, step.effort))
    lines = {model: points for model, points in lines.items() if len(points) > 1}
    if not lines:
        return None

    def draw(axes: Any) -> None:
        from matplotlib.ticker import LogLocator, NullLocator

        axes.set_xscale("log")
        axes.margins(0.08, 0.12)  # room for the numbers
        for number, (model, points) in enumerate(lines.items()):
            pairs = [(seconds, rate) for seconds, rate, _ in points]
            colour = COLOURS[number % len(COLOURS)]
            line(axes, pairs, model, color=colour, marker="o")
            for seconds, rate, effort in points:
                style = {"textcoords": "offset points", "ha": "center", "color": colour}
                axes.annotate(str(effort), (seconds, rate), xytext=(0, 7), **style)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())

    across = "seconds to encode an image; the numbers are efforts"
    label = f"BD-rate against effort {min(step.effort for step in steps)}, PSNR, %"
    return picture(draw, title, label, format, dark, across, loc="best")
