"""The page of a report: one HTML file that holds everything and loads nothing.

Jinja escapes text from outside, such as file names. The style, the script and the pictures are
written into the page. The page's content security policy forbids it to load anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .bd import Curve
from .effort_plot import effort_plot
from .efforts import Step
from .packages import evaluation_packages
from .pictures import Card, data_uri
from .plots import LABELS, rd_plot
from .report_tables import Table, number, utf_8

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Plot:
    """A plot for light and for dark backgrounds, as `data:` URIs. `about` says what it shows."""

    about: str
    light: str
    dark: str


def render(
    title: str,
    about: list[str],
    plots: list[Plot],
    tables: list[Table],
    cards: list[Card],
) -> bytes:
    """The page as HTML in UTF-8.

    Args:
        title: the heading.
        about: lines below the heading.
        plots: plots at the top.
        tables: tables below the plots. If there are no cards, `folded` tables are open.
        cards: the pictures.
    """
    with evaluation_packages():
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["digits"] = number
    html = environment.get_template("page.html.j2").render(
        title=title,
        about=about,
        plots=plots,
        tables=tables,
        cards=cards,
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup((HERE / "page.js").read_text(encoding="utf-8")),
    )
    return utf_8(html)


def title_of(names: list[str]) -> str:
    """The title for some codecs, such as "tic-lite against jpeg and webp"."""
    subject, *others = names
    if not others:
        return subject
    return f"{subject} against {', '.join(others[:-1]) + ' and ' * (len(others) > 1)}{others[-1]}"


def rd_plots(curves: list[Curve], published: list[Curve]) -> list[Plot]:
    """A plot for each metric in which the first curve has two points."""
    plots = []
    for metric, label in LABELS.items():
        if curves and len(curves[0].of(metric)) > 1:
            pair = [rd_plot(curves, published, metric, "", dark=dark) for dark in (False, True)]
            plots.append(_plot(f"{label} over bits per pixel, one curve per codec", pair))
    return plots


def effort_plots(steps: Sequence[Step]) -> list[Plot]:
    """The plot of effort in a list, which is empty if no model has two efforts with a BD-rate."""
    pair = [effort_plot(steps, "", dark=dark) for dark in (False, True)]
    return [_plot("BD-rate over seconds to encode, one line per model", pair)] if pair[0] else []


def _plot(about: str, pair: list[bytes | None]) -> Plot:
    """A plot from its SVG files for light and dark backgrounds."""
    light, dark = (data_uri("image/svg+xml", svg or b"") for svg in pair)
    return Plot(about, light, dark)
