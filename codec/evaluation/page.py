"""The page of a report: one HTML file that holds everything and loads nothing.

Jinja escapes text from outside, such as names of files. The style, the script and the pictures are
written into the page, and its content policy forbids it to load anything.
"""

from __future__ import annotations

from pathlib import Path

from .bd import Curve
from .packages import evaluation_packages
from .pictures import Card, data_uri
from .plots import LABELS, rd_plot
from .report_tables import Table, number, utf_8

HERE = Path(__file__).parent


def render(
    title: str,
    about: list[str],
    curves: list[Curve],
    published: list[Curve],
    tables: list[Table],
    cards: list[Card],
) -> bytes:
    """The page, HTML in UTF-8.

    Args:
        title: its heading; about: lines below it.
        curves, published: for the plots on top. A metric has a plot if the first curve has two
            points in it.
        tables: those that are `folded` are open if there are no cards.
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
        plots=_plots(curves, published),
        tables=tables,
        cards=cards,
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup((HERE / "page.js").read_text(encoding="utf-8")),
    )
    return utf_8(html)


def title_of(names: list[str]) -> str:
    """ "tic-lite against jpeg and webp"."""
    subject, *others = names
    if not others:
        return subject
    return f"{subject} against {', '.join(others[:-1]) + ' and ' * (len(others) > 1)}{others[-1]}"


def _plots(curves: list[Curve], published: list[Curve]) -> list[dict[str, str]]:
    """Each metric's plot for both grounds, as `data:` URIs."""
    plots = []
    for metric, label in LABELS.items():
        if not curves or len(curves[0].of(metric)) < 2:
            continue
        pair = [rd_plot(curves, published, metric, "", "svg", dark) for dark in (False, True)]
        light, dark = (data_uri("image/svg+xml", svg or b"") for svg in pair)
        plots.append({"label": label, "light": light, "dark": dark})
    return plots
