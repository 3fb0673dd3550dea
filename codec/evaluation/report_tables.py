"""A run as tables, JSON, CSV and Markdown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ticodec import __version__

from .accuracy import OF_MEANS, Accuracy
from .bd import Delta, finite_decibel
from .efforts import Step
from .measure import Evaluation
from .measurements import OF_CLASSES
from .summary import Point, Summary

#: Headers of the columns that hold accuracies.
ACCURACIES = {
    "top1": "top-1, %",
    "top5": "top-5, %",
    "pixel_top1": "pixels top-1, %",
    "pixel_top5": "pixels top-5, %",
}


@dataclass(frozen=True)
class Table:
    """Rows of text under a header. The first column holds names, the others hold numbers.

    If `folded` is true, a page shows the table only after a click.
    """

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    folded: bool = False


def means_table(points: list[Point], count: int, original: Accuracy | None = None) -> Table:
    """Means over `count` images: a row per setting, and one for the accuracy on the originals.

    There are columns for accuracies only if there are accuracies.
    """
    header = ["codec", "setting", "bytes", "bpp", "PSNR, dB", "MS-SSIM", "in dB"]
    shown = [name for name in OF_MEANS if any(getattr(point, name) is not None for point in points)]
    header += [ACCURACIES[name] for name in shown]
    rows = [
        (
            point.coder,
            f"{point.knob} {point.setting:g}",
            f"{point.bytes:,.0f}",
            f"{point.bpp:.3f}",
            number(point.psnr, 2),
            number(point.ms_ssim, 4),
            number(point.ms_ssim_db, 2),
            *(share(getattr(point, name)) for name in shown),
            f"{point.encode_seconds:.3f}",
            f"{point.decode_seconds:.3f}",
        )
        for point in points
    ]
    header += ["encode, s", "decode, s"]
    if original:
        known = {"codec": "original"}
        known |= {ACCURACIES["pixel_top1"]: share(original.top1)}
        known |= {ACCURACIES["pixel_top5"]: share(original.top5)}
        rows.append(tuple(known.get(name, "–") for name in header))
    return Table(f"means over {images(count)}", tuple(header), rows, folded=True)


def deltas_table(summary: Summary, published: bool) -> Table:
    """BD-rates of the first coder against the others, or against published curves.

    Negative rates mean that the first coder needs fewer bits.
    """
    subject = summary.curves[0].name
    header = ("against", "BD-rate, PSNR", "over, dB", "BD-PSNR, dB", "over, bpp")
    rows = [
        (
            row.against,
            percent(row.psnr),
            overlap(row.psnr),
            "–" if row.psnr.gain is None else f"{row.psnr.gain:+.2f}",
            span(row.psnr.low_bpp, row.psnr.high_bpp, 2),
            percent(row.ms_ssim),
            overlap(row.ms_ssim),
        )
        for row in summary.comparisons
        if row.published == published
    ]
    others = "published curves" if published else "others"
    title = f"{subject} against {others}"
    return Table(title, (*header, "BD-rate, MS-SSIM", "over, dB"), rows, folded=published)


def efforts_table(steps: Sequence[Step]) -> Table:
    """The seconds that each effort costs and the bits that it saves.

    The table has no rows if no model has several efforts.
    """
    others = list(steps[0].others) if steps else []
    header = ("codec", "effort", "encode, s", "BD-rate, PSNR", "BD-rate, MS-SSIM")
    rows = [
        (
            step.model,
            str(step.effort),
            f"{step.seconds:.3f}",
            percent(step.psnr),
            percent(step.ms_ssim),
            *(percent(step.others[name]) for name in others),
        )
        for step in steps
    ]
    against = (f"against {name}" for name in others)
    least = min((step.effort for step in steps), default=1)
    return Table(f"every effort against effort {least}", (*header, *against), rows)


def images(count: int) -> str:
    """The words for a number of images: "1 image" or "24 images"."""
    return f"{count} image{'' if count == 1 else 's'}"


def number(value: float | None, digits: int) -> str:
    """A number as text, or a dash if there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def share(value: float | None) -> str:
    """A share, 0 … 1, as text in per cent, or a dash if there is none."""
    return "–" if value is None else f"{100 * value:.1f}"


def percent(delta: Delta) -> str:
    """A BD-rate as text, or why there is none. A dash if nothing was measured."""
    if delta.rate is None:
        return "–" if delta.why.endswith("no points") else delta.why
    return f"{delta.rate:+.1f} %"


def span(low: float | None, high: float | None, digits: int) -> str:
    """A range as text, or a dash if there is none."""
    return "–" if low is None or high is None else f"{low:.{digits}f}–{high:.{digits}f}"


def overlap(delta: Delta) -> str:
    """The range of dB that both curves reach, as text.

    If it is less than the first coder's whole range, its share in per cent follows.
    """
    part = f", {delta.share:.0%}" if delta.share is not None and delta.share < 0.995 else ""
    return span(delta.low_db, delta.high_db, 1) + part


def facts(run: Evaluation, summary: Summary, folder: str) -> dict[str, Any]:
    """The contents of `report.json`. Without accuracies their fields are left out."""
    means = [asdict(point) for points in summary.points.values() for point in points]
    if not summary.classified:
        means = [{k: v for k, v in mean.items() if k not in OF_MEANS} for mean in means]
    everything = {
        "ticodec": __version__,
        "folder": folder,
        "images": len(run.sources),
        "failed": [{"image": name, "why": why} for name, why in run.failed.items()],
        "coders": [{"name": coder.name, "version": coder.version} for coder in run.coders],
        "means": means,
        "bd": [asdict(comparison) for comparison in summary.comparisons],
        "measurements": _measurements(run),
    }
    if summary.original:
        everything["original"] = asdict(summary.original)
    if summary.efforts:
        everything["efforts"] = [asdict(step) for step in summary.efforts]
    return everything


def _measurements(run: Evaluation) -> list[dict[str, Any]]:
    rows = []
    for source in run.sources:
        for coder in run.coders:
            for setting in coder.ladder:
                measured = run.measured(source, coder, setting).as_dict()
                del measured["version"]  # "coders" has it
                measured["ms_ssim_db"] = finite_decibel(measured["ms_ssim"])
                file = run.path(source, coder, setting).relative_to(run.store.folder).as_posix()
                size = {"width": source.width, "height": source.height}
                rows.append({**measured, "image": source.name, **size, "file": file})
    return rows


def utf_8(text: str) -> bytes:
    """Text as UTF-8, with "?" for bytes of file names that are not valid characters."""
    return text.encode("utf-8", "replace")


def json_text(value: Any) -> str:
    """A JSON document."""
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def csv_text(everything: dict[str, Any]) -> str:
    """CSV with a row per measurement, then the means, whose image is "(mean)"."""
    names = ["image", "width", "height", "coder", "setting", "bytes", "bpp", "psnr", "ms_ssim"]
    names += ["ms_ssim_db", "encode_seconds", "decode_seconds", "stream", "file"]
    if "top1" in everything["means"][0]:
        names += [*OF_CLASSES, *OF_MEANS]
    out = io.StringIO()
    writer = csv.DictWriter(out, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(everything["measurements"])
    writer.writerows({**point, "image": "(mean)"} for point in everything["means"])
    return out.getvalue()


def markdown(tables: list[Table], notes: list[str]) -> str:
    """Tables as Markdown, with the notes below them."""
    lines: list[str] = []
    for table in tables:
        lines += [f"### {table.title}", "", _row(table.header)]
        lines.append(_row(tuple("---" if i == 0 else "--:" for i in range(len(table.header)))))
        lines += [_row(row) for row in table.rows] + [""]
    return "\n".join([*lines, *notes]) + "\n"


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
