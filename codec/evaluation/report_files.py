"""Writes the files of a report from measurements."""

from __future__ import annotations

from pathlib import Path

from ticodec import __version__
from ticodec.errors import TicodecError
from ticodec.files import write_file
from ticodec.ms_ssim import SMALLEST

from . import accuracy, efforts, page, report_tables
from .accuracy_plot import accuracy_plot
from .effort_plot import effort_plot
from .measure import Evaluation, Progress
from .pictures import Card, card_of
from .plots import rd_plot
from .report_tables import Table, utf_8
from .summary import Summary

#: A page has at most this many characters of pictures; browsers cannot show much larger pages.
PAGE_CHARACTERS = 160_000_000
PAGE = "report.html"
PLOTS = {"psnr": "rd-psnr", "ms_ssim": "rd-ms-ssim"}
ACCURACY = "rate-accuracy"
EFFORT = "effort"


def tables_of(run: Evaluation, summary: Summary) -> list[Table]:
    """The tables that have rows: against others, against published curves, efforts, means."""
    every = [point for points in summary.points.values() for point in points]
    tables = [report_tables.deltas_table(summary, published) for published in (False, True)]
    tables.append(report_tables.efforts_table(summary.efforts))
    tables.append(report_tables.means_table(every, len(run.sources), summary.original))
    return [table for table in tables if table.rows]


def notes_of(run: Evaluation, folder: str) -> list[str]:
    """Lines that say what was measured, and what was left out."""
    coders = "; ".join(f"{coder.name}: {coder.version}" for coder in run.coders)
    lines = [
        f"{report_tables.images(len(run.sources))} of {folder}, ticodec {__version__}. "
        "Values are means over images. Bytes are those of complete files. PSNR and MS-SSIM are "
        "measured on decoded 8-bit RGB pixels.",
        coders + ".",
    ]
    if run.failed:
        names = ", ".join(run.failed)
        lines.append(f"Left out, because not every codec could code them: {names}.")
    small = [source.name for source in run.sources if min(source.height, source.width) < SMALLEST]
    if small:
        more = f" and {len(small) - 1} more" if len(small) > 1 else ""
        lines.append(
            f"No mean MS-SSIM, because images with fewer than {SMALLEST} pixels on a side have "
            f"none: {small[0]}{more}."
        )
    return lines + accuracy.notes(run)


def write_report(
    run: Evaluation,
    summary: Summary,
    folder: str,
    pictures: int,
    progress: Progress = lambda what, done, total: None,
) -> list[str]:
    """Write report.json, report.csv, report.md, the plots and report.html into the run's folder.

    Args:
        folder: the folder of the images, as the user wrote it.
        pictures: the most images on the page. They are shown at the quality nearest the default.

    Returns the names of the files. Raises TicodecError when a file cannot be written.
    """
    out = run.store.folder
    everything = report_tables.facts(run, summary, folder)
    tables = tables_of(run, summary)
    notes = notes_of(run, folder) + efforts.notes(summary.efforts)
    files = {
        "report.json": utf_8(report_tables.json_text(everything)),
        "report.csv": utf_8(report_tables.csv_text(everything)),
        "report.md": utf_8(report_tables.markdown(tables, notes)),
    }
    for name, plot in _plots(run, summary, folder).items():
        if plot is not None:
            files[name] = plot
        else:  # an earlier run may have left one
            (out / name).unlink(missing_ok=True)
    for name, data in files.items():  # before the pictures, which may take long
        write_file(out / name, data)
    cards = _cards(run, pictures, progress)
    if len(cards) < len(run.sources):
        notes = [*notes, f"Pictures of {len(cards)} of {report_tables.images(len(run.sources))}."]
    heading = page.title_of([coder.name for coder in run.coders])
    plots = [
        *page.rd_plots(summary.curves, summary.published),
        *page.effort_plots(summary.efforts),
    ]
    html = page.render(heading, notes, plots, tables, cards)
    write_file(out / PAGE, html)
    return [*files, PAGE]


def _plots(run: Evaluation, summary: Summary, folder: str) -> dict[str, bytes | None]:
    """All plots by the name of their file, or None where there is nothing to draw."""
    title = f"{report_tables.images(len(run.sources))} of {Path(folder).resolve().name}"
    title = utf_8(title).decode()  # matplotlib rejects names that are not Unicode
    plots: dict[str, bytes | None] = {}
    for format in ("svg", "png"):
        for metric, name in PLOTS.items():
            plot = rd_plot(summary.curves, summary.published, metric, title, format)
            plots[f"{name}.{format}"] = plot
        plots[f"{ACCURACY}.{format}"] = accuracy_plot(
            summary.points, summary.original, title, format
        )
        plots[f"{EFFORT}.{format}"] = effort_plot(summary.efforts, title, format)
    return plots


def _cards(run: Evaluation, pictures: int, progress: Progress) -> list[Card]:
    subject = run.coders[0]
    setting = min(subject.ladder, key=lambda quality: abs(quality - subject.default))
    cards: list[Card] = []
    for done, source in enumerate(run.sources[:pictures]):
        progress(f"picture of {source.name}", done, min(pictures, len(run.sources)))
        try:
            cards.append(card_of(run, source, setting))
        except (TicodecError, OSError):
            continue  # the image was deleted or changed since it was measured
        if sum(card.weight for card in cards) > PAGE_CHARACTERS and len(cards) > 1:
            return cards[:-1]
    return cards
