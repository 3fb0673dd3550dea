"""Rate-distortion plots as SVG and PNG, on a light or a dark ground."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from .bd import Curve

LABELS = {"psnr": "PSNR, dB", "ms_ssim": "MS-SSIM, dB"}
#: Published curves drawn when they apply: the yardsticks, not every one there is.
YARDSTICKS = ("BPG 4:4:4", "VTM")
# Okabe and Ito's colours, which colour-blind eyes tell apart.
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999933", "#7f7f7f")
GROUNDS = {False: ("#ffffff", "#222222", "#d8d8d8"), True: ("#16181c", "#e8e8e8", "#3a3d44")}


def rd_plot(
    curves: list[Curve],
    published: list[Curve],
    metric: str,
    title: str,
    format: str = "svg",
    dark: bool = False,
) -> bytes | None:
    """Curves of one metric over bits a pixel, the first one drawn strongest.

    Args:
        metric: "psnr" or "ms_ssim"; format: "svg" or "png". The same curves give the same bytes.

    Returns the file, or None when the first coder was not measured in this metric.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not curves[0].of(metric):
        return None
    ground, ink, lines = GROUNDS[dark]
    with mpl.rc_context({"svg.hashsalt": "ticodec", "svg.fonttype": "path", "font.size": 10}):
        figure = Figure(figsize=(7.2, 4.6), layout="constrained", facecolor=ground)
        FigureCanvasAgg(figure)
        axes: Any = figure.add_subplot(facecolor=ground)
        for number, curve in enumerate(curves):
            style: dict[str, Any] = {"color": COLOURS[number % len(COLOURS)], "marker": "o"}
            style |= {"linewidth": 2.6, "markersize": 5} if number == 0 else {"markersize": 3}
            _draw(axes, curve, metric, curve.name, zorder=10 - number / 100, **style)
        for curve in published:
            if curve.name in YARDSTICKS:
                dashes = "--" if curve.name == YARDSTICKS[0] else ":"
                label = f"{curve.name} (published)"
                _draw(axes, curve, metric, label, color=ink, linestyle=dashes, linewidth=1.2)
        _frame(axes, curves, metric)
        axes.set_title(title, color=ink, fontsize=11, parse_math=False)
        axes.set_xlabel("bits a pixel", color=ink)
        axes.set_ylabel(LABELS[metric], color=ink)
        axes.grid(color=lines, linewidth=0.6)
        axes.tick_params(colors=ink)
        for spine in axes.spines.values():
            spine.set_color(lines)
        legend = axes.legend(loc="lower right", facecolor=ground, edgecolor=lines, labelcolor=ink)
        for text in legend.get_texts():
            text.set_parse_math(False)
        out = BytesIO()
        metadata = {"Date": None} if format == "svg" else {}
        figure.savefig(out, format=format, dpi=160, metadata=metadata)
    return out.getvalue()


def _draw(axes: Any, curve: Curve, metric: str, label: str, **style: Any) -> None:
    if pairs := curve.of(metric):
        rates, dbs = zip(*pairs, strict=True)
        axes.plot(rates, dbs, label=label, **style)


def _frame(axes: Any, curves: list[Curve], metric: str) -> None:
    """Show the rates of the first coder and at most half as much again."""
    last = [max((rate for rate, _ in curve.of(metric)), default=0) for curve in curves]
    right = min(last[0] * 1.5, max(last) * 1.05)
    seen = [db for curve in curves for rate, db in curve.of(metric) if rate <= right * 1.05]
    margin = (max(seen) - min(seen)) * 0.05 + 0.1
    axes.set_xlim(0, right)
    axes.set_ylim(min(seen) - margin, max(seen) + margin)
