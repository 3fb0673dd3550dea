"""The plot of rate and distortion, and what all plots share. Plots are SVG or PNG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

from .bd import Curve
from .packages import evaluation_packages

#: (bits per pixel, value) of each point of a curve, sorted by rate.
Pairs = Sequence[tuple[float, float]]
LABELS = {"psnr": "PSNR, dB", "ms_ssim": "MS-SSIM, dB"}
#: The published curves that are drawn, if the images are Kodak's.
YARDSTICKS = ("BPG 4:4:4", "VTM")
# Okabe and Ito's colours, which colour-blind people can distinguish.
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999933", "#7f7f7f")
#: Colours of background, text and grid lines, by whether the background is dark.
GROUNDS = {False: ("#ffffff", "#222222", "#d8d8d8"), True: ("#16181c", "#e8e8e8", "#3a3d44")}


def rd_plot(
    curves: list[Curve],
    published: list[Curve],
    metric: str,
    title: str,
    format: str = "svg",
    dark: bool = False,
) -> bytes | None:
    """Curves of one metric over bits per pixel. The first curve has the thickest line.

    Args:
        metric: "psnr" or "ms_ssim".
        format: "svg" or "png".
        dark: draw for a dark background.

    Returns the bytes of the file, which are the same for the same curves, or None if the first
    coder was not measured in this metric.
    """
    if not curves[0].of(metric):
        return None
    ink = GROUNDS[dark][1]

    def draw(axes: Any) -> None:
        for number, curve in enumerate(curves):
            style: dict[str, Any] = {"color": COLOURS[number % len(COLOURS)], "marker": "o"}
            style |= {"linewidth": 2.6, "markersize": 5} if number == 0 else {"markersize": 3}
            line(axes, curve.of(metric), curve.name, zorder=10 - number / 100, **style)
        for curve in published:
            if curve.name in YARDSTICKS:
                dashes = "--" if curve.name == YARDSTICKS[0] else ":"
                label = f"{curve.name} (published)"
                style = {"color": ink, "linestyle": dashes, "linewidth": 1.2}
                line(axes, curve.of(metric), label, **style)
        frame(axes, [curve.of(metric) for curve in curves], 0.1)

    return picture(draw, title, LABELS[metric], format, dark)


def picture(
    draw: Callable[[Any], None],
    title: str,
    label: str,
    format: str,
    dark: bool,
    across: str = "bits per pixel",
    **legend: Any,
) -> bytes:
    """The file of a plot.

    Args:
        draw: draws on matplotlib's axes.
        label: label of the vertical axis.
        across: label of the horizontal axis.
        legend: options of the legend.
    """
    with evaluation_packages():
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    ground, ink, lines = GROUNDS[dark]
    with mpl.rc_context({"svg.hashsalt": "ticodec", "svg.fonttype": "path", "font.size": 10}):
        figure = Figure(figsize=(7.2, 4.6), layout="constrained", facecolor=ground)
        FigureCanvasAgg(figure)
        axes: Any = figure.add_subplot(facecolor=ground)
        draw(axes)
        axes.set_title(title, color=ink, fontsize=11, parse_math=False)
        axes.set_xlabel(across, color=ink)
        axes.set_ylabel(label, color=ink)
        axes.grid(color=lines, linewidth=0.6)
        axes.tick_params(colors=ink)
        for spine in axes.spines.values():
            spine.set_color(lines)
        legend = {"loc": "lower right", **legend}
        names = axes.legend(facecolor=ground, edgecolor=lines, labelcolor=ink, **legend)
        for text in names.get_texts():
            text.set_parse_math(False)
        out = BytesIO()
        metadata = {"Date": None} if format == "svg" else {}
        figure.savefig(out, format=format, dpi=160, metadata=metadata)
    return out.getvalue()


def line(axes: Any, pairs: Pairs, label: str, **style: Any) -> None:
    """Draw a curve if it has any points."""
    if pairs:
        rates, values = zip(*pairs, strict=True)
        axes.plot(rates, values, label=label, **style)


def frame(axes: Any, curves: Sequence[Pairs], margin: float) -> None:
    """Set the ranges of the axes.

    The horizontal axis ends at 1.5 times the highest rate of the first curve, or earlier if no
    curve goes that far. The vertical axis has all values of this range.

    Args:
        margin: space above and below the values, in their unit. 5 % of their range is added to it.
    """
    last = [max((rate for rate, _ in pairs), default=0) for pairs in curves]
    right = min(last[0] * 1.5, max(last) * 1.05)
    seen = [value for pairs in curves for rate, value in pairs if rate <= right * 1.05]
    margin += (max(seen) - min(seen)) * 0.05
    axes.set_xlim(0, right)
    axes.set_ylim(min(seen) - margin, max(seen) + margin)
