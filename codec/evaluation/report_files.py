"""From measurements to the files of a report, and the page of a single photo."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ticodec import __version__
from ticodec.container import MAX_PIXELS
from ticodec.errors import TicodecError
from ticodec.files import write_file

from . import accuracy, bd, page, report_tables
from .accuracy_plot import accuracy_plot
from .measure import Evaluation, Progress, load
from .measurements import Measurement
from .pictures import Card, card_of, matched_card
from .plots import rd_plot
from .registry import CoderSpec, make
from .report_tables import Table
from .summary import Summary

#: Pictures beyond these many characters are left out of a page: browsers give up on larger ones.
PAGE_CHARACTERS = 160_000_000
PAGE = "report.html"
PLOTS = {"psnr": "rd-psnr", "ms_ssim": "rd-ms-ssim"}
ACCURACY = "rate-accuracy"


def tables_of(run: Evaluation, summary: Summary) -> list[Table]:
    """The subject against others and against published curves, where there are any; means."""
    every = [point for points in summary.points.values() for point in points]
    tables = [report_tables.deltas_table(summary, published) for published in (False, True)]
    tables.append(report_tables.means_table(every, len(run.sources), summary.original))
    return [table for table in tables if table.rows]


def notes_of(run: Evaluation, folder: str) -> list[str]:
    """What the numbers are of, and what is missing from them."""
    coders = "; ".join(f"{coder.name}: {coder.version}" for coder in run.coders)
    lines = [
        f"{report_tables.images(len(run.sources))} of {folder}, ticodec {__version__}. "
        "Bytes of whole files, 8-bit RGB pixels as decoded; means over images.",
        coders + ".",
    ]
    if run.failed:
        names = ", ".join(run.failed)
        lines.append(f"Left out, since not every codec could code them: {names}.")
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
        folder: the images' folder, as it was given.
        pictures: at most so many images are on the page, at the quality nearest the default.

    Returns the names of the files. Raises TicodecError when the disk refuses.
    """
    out = run.store.folder
    everything = report_tables.facts(run, summary, folder)
    tables, notes = tables_of(run, summary), notes_of(run, folder)
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
    heading = title_of([coder.name for coder in run.coders])
    html = page.render(heading, notes, summary.curves, summary.published, tables, cards)
    write_file(out / PAGE, utf_8(html))
    return [*files, PAGE]


def _plots(run: Evaluation, summary: Summary, folder: str) -> dict[str, bytes | None]:
    """Every plot there may be by the name of its file; None where there is nothing to draw."""
    title = f"{report_tables.images(len(run.sources))} of {Path(folder).resolve().name}"
    title = utf_8(title).decode()  # matplotlib takes nothing else
    found: dict[str, bytes | None] = {}
    for format in ("svg", "png"):
        for metric, name in PLOTS.items():
            plot = rd_plot(summary.curves, summary.published, metric, title, format)
            found[f"{name}.{format}"] = plot
        found[f"{ACCURACY}.{format}"] = accuracy_plot(
            summary.points, summary.original, title, format
        )
    return found


def utf_8(text: str) -> bytes:
    """Text as bytes, "?" for what names of files may hold that is no character."""
    return text.encode("utf-8", "replace")


def title_of(names: list[str]) -> str:
    """ "tic-lite against jpeg and webp"."""
    subject, *others = names
    if not others:
        return subject
    return f"{subject} against {', '.join(others[:-1]) + ' and ' * (len(others) > 1)}{others[-1]}"


def _cards(run: Evaluation, pictures: int, progress: Progress) -> list[Card]:
    subject = run.coders[0]
    setting = min(subject.ladder, key=lambda each: abs(each - subject.default))
    cards: list[Card] = []
    for done, source in enumerate(run.sources[:pictures]):
        progress(f"picture of {source.name}", done, min(pictures, len(run.sources)))
        try:
            cards.append(card_of(run, source, setting))
        except (TicodecError, OSError):
            continue  # the image went away since it was measured
        if sum(card.weight for card in cards) > PAGE_CHARACTERS and len(cards) > 1:
            return cards[:-1]
    return cards


def compare(
    photo: Path,
    specs: list[CoderSpec],
    qualities: tuple[float, ...] | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: Progress = lambda what, done, total: None,
) -> tuple[bytes, list[list[Measurement]], dict[str, str]]:
    """One photo by the first coder, the others matched in bytes.

    Args:
        specs: the first must be one of our own; qualities: its; None: its default one.

    Returns the page, the measurements (a list a quality, one of each coder), and what the
    coders say that could not code it, by name.
    Raises BadInputError for a photo that cannot be read, UsageError for a coder that is not to
    be had, TicodecError when the first one fails.
    """
    coders = [make(spec) for spec in specs]
    source, _ = load(photo, max_pixels)
    settings = coders[0].ladder if qualities else (coders[0].default,)
    cards: list[Card] = []
    rows: list[list[Measurement]] = []
    failed: dict[str, str] = {}
    for done, setting in enumerate(settings):
        progress(f"{source.name} at quality {setting:g}", done, len(settings))
        card, measured = matched_card(source, specs, setting, failed)
        several = f", {coders[0].knob} {setting:g}" if len(settings) > 1 else ""
        cards.append(replace(card, title=f"{source.name}{several}"))
        rows.append(measured)
    every = [row for each in rows for row in each]
    coders = [coder for coder in coders if coder.name in {row.coder for row in every}]
    curves = [
        bd.curve_of(coder.name, [row for row in every if row.coder == coder.name])
        for coder in coders
    ]
    about = [
        f"{source.width}×{source.height} pixels, ticodec {__version__}. Every codec at the "
        "setting that comes nearest in bytes; bytes of whole files, 8-bit RGB pixels as decoded.",
        "; ".join(f"{coder.name}: {coder.version}" for coder in coders) + ".",
        *(f"Left out: {why}" for why in failed.values()),
    ]
    tables = [_photo_table(every, {coder.name: coder.knob for coder in coders})]
    heading = f"{source.name}: {title_of([coder.name for coder in coders])}"
    return utf_8(page.render(heading, about, curves, [], tables, cards)), rows, failed


def _photo_table(rows: list[Measurement], knobs: dict[str, str]) -> Table:
    header = ("codec", "setting", "bytes", "bpp", "PSNR, dB", "MS-SSIM", "encode, s", "decode, s")
    cells = [
        (
            row.coder,
            f"{knobs[row.coder]} {row.setting:.3g}",
            f"{row.bytes:,}",
            f"{row.bpp:.3f}",
            report_tables.number(row.psnr, 2),
            report_tables.number(row.ms_ssim, 4),
            f"{row.encode_seconds:.3f}",
            f"{row.decode_seconds:.3f}",
        )
        for row in rows
    ]
    return Table("at the same size", header, cells, folded=True)
