"""The page of a single photo: every codec at the same size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ticodec import __version__
from ticodec.container import MAX_PIXELS

from . import bd, page, report_tables
from .coder import Coder
from .measure import Progress, load
from .measurements import Measurement
from .packages import check_evaluation_packages
from .pictures import Card, matched_card
from .registry import CoderSpec, make
from .report_tables import Table


def compare(
    photo: Path,
    specs: list[CoderSpec],
    qualities: tuple[float, ...] | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: Progress = lambda what, done, total: None,
) -> tuple[bytes, list[list[Measurement]], dict[str, str]]:
    """Code a photo with the first coder, and with the others into files of about the same size.

    Args:
        specs: the coders. The first must be one of our own models.
        qualities: qualities of the first coder, or None for its default quality.

    Returns the page, the measurements (one list per quality, with one measurement per coder), and
    the errors of coders that could not code the photo, by name.

    Raises BadInputError when the photo cannot be read, UsageError when a coder cannot be used or
    the extra `evaluate` is missing, TicodecError when the first coder fails.
    """
    check_evaluation_packages()
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
    every = [row for of_quality in rows for row in of_quality]
    coders = [coder for coder in coders if coder.name in {row.coder for row in every}]
    curves = [
        bd.curve_of(coder.name, [row for row in every if row.coder == coder.name])
        for coder in coders
    ]
    about = [
        f"{source.width}×{source.height} pixels, ticodec {__version__}. {_sizes(coders)}Sizes are "
        "of whole files. Except for the original, these files have no metadata. PSNR and MS-SSIM "
        "are measured on decoded 8-bit RGB pixels.",
        "; ".join(f"{coder.name}: {coder.version}" for coder in coders) + ".",
        *(f"Left out: {why}" for why in failed.values()),
    ]
    tables = [_photo_table(every, {coder.name: coder.knob for coder in coders})]
    heading = f"{source.name}: {page.title_of([coder.name for coder in coders])}"
    plots = page.rd_plots(curves, [])
    return page.render(heading, about, plots, tables, cards), rows, failed


def _sizes(coders: list[Coder]) -> str:
    """A sentence about how codecs were set, or "" if there is one codec only."""
    first, *others = (coder.name for coder in coders)
    if not others:
        return ""
    return f"Every other codec has the setting whose file is closest in size to that of {first}. "


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
