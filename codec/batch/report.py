"""Turns rows into totals, and into a report in JSON or CSV."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ticodec.errors import UsageError
from ticodec.files import check_name, read_file, write_file

from .messages import Row
from .plan import Plan
from .table import Table

#: Fields of a row that a report leaves out.
INTERNAL = {"checked", "fatal", "labels"}


@dataclass
class Totals:
    """Sums over the rows so far.

    Attributes:
        counts: number of files by status.
        bytes_in, bytes_out, pixels: sums over the files that are done or up to date.
        done_pixels: pixels of the files that were done in this run.
        checked: number of files that are done and were not coded, only checked.
        checked_pixels: pixels of these files.
        retried: number of files with which a worker died once.
        deleted: number of deleted sources.
        kept: number of sources that were not deleted, although the job asks for it, because
            something would be lost.
        notes: number of files with a note, by the kind of the note.
        examples: one note of each kind.
        unread: number of files that were up to date, so that no notes were looked for.
        psnr: the lowest PSNR in dB of the files whose source was deleted.
        reasons: how often each error occurred.
        left_out: number of files that have no row because of their suffix, by suffix.
        excluded: number of files that have no row because the user's patterns leave them out.
        models: the names of the weights of files that are done or up to date.
    """

    counts: Counter[str] = field(default_factory=Counter)
    bytes_in: int = 0
    bytes_out: int = 0
    pixels: int = 0
    done_pixels: int = 0
    checked: int = 0
    checked_pixels: int = 0
    retried: int = 0
    deleted: int = 0
    kept: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    unread: int = 0
    psnr: float | None = None
    reasons: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    excluded: int = 0
    models: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, rows: Iterable[Row], plan: Plan | None = None) -> Totals:
        """Sums over some rows, and the numbers of files that their plan leaves out."""
        totals = cls() if plan is None else cls(left_out=plan.others, excluded=plan.excluded)
        for row in rows:
            totals.add(row)
        return totals

    def add(self, row: Row) -> None:
        """Add a row to the sums."""
        self.counts[row.status] += 1
        self.retried += row.retried
        self.deleted += row.deleted
        self.kept += bool(row.kept)
        for note in row.notes:
            self.notes[note.kind] += 1
            self.examples.setdefault(note.kind, note.text)
        if row.deleted and row.psnr is not None:
            self.psnr = row.psnr if self.psnr is None else min(self.psnr, row.psnr)
        self.unread += row.status == "skipped" and not row.notes and not row.kept
        if row.status in ("done", "skipped"):
            self.bytes_in += row.bytes_in
            self.bytes_out += row.bytes_out
            self.pixels += row.width * row.height
            self.models.add(row.model)
        if row.status == "done":
            self.done_pixels += row.width * row.height
            if row.checked:
                self.checked += 1
                self.checked_pixels += row.width * row.height
        elif row.status == "failed":
            self.reasons[_reason(row)] += 1

    @property
    def files(self) -> int:
        """The number of files."""
        return sum(self.counts.values())

    @property
    def whole(self) -> int:
        """The number of files that have an output that is up to date."""
        return self.counts["done"] + self.counts["skipped"]

    def summary(self, seconds: float) -> dict[str, Any]:
        """The totals by the names that they have in reports."""
        return {
            "files": self.files,
            **{name: self.counts[name] for name in ("done", "skipped", "failed", "left")},
            "retried": self.retried,
            "deleted": self.deleted,
            "kept": self.kept,
            "notes": dict(self.notes),
            "left_out": dict(self.left_out),
            "excluded": self.excluded,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "pixels": self.pixels,
            "seconds": round(seconds, 3),
            "megapixels_per_second": round(self.done_pixels / 1e6 / max(seconds, 1e-9), 3),
        }


def _reason(row: Row) -> str:
    """The error of a failed file without its names, so that equal errors are counted together."""
    error = row.error.removeprefix(f"{row.file}: ").removeprefix(f"{row.output}: ")
    return error.replace(row.output, "its output") if row.output else error


def check_report(path: Path, table: Table | None, replace: bool) -> None:
    """Raises UsageError when a report cannot be written to a path.

    Args:
        path: path of the report.
        table: table of labels of the same run, if any.
        replace: whether a file that is not a report may be overwritten.
    """
    if table is not None and path.absolute() == Path(table.url).absolute():
        raise UsageError(f"{path} is the table of labels; give the report another name")
    check_name(path)
    if path.suffix.lower() not in (".json", ".csv"):
        raise UsageError(f"{path}: a report ends in .json or .csv")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: there is no folder {path.parent}")
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file in it")
    if path.is_file() and not replace and not _is_report(path):
        raise UsageError(f"{path} exists and is not a report of batch; `replace` overwrites it")


def _is_report(path: Path) -> bool:
    """Whether a file is empty, or a report of this or an earlier version."""
    text = read_file(path).decode("utf-8", "surrogateescape")
    if not text:
        return True
    columns = {"file", "output", "status", "bytes_in", "bytes_out"}
    try:
        if path.suffix.lower() == ".csv":
            return columns <= set(next(csv.reader(io.StringIO(text)), ()))
        document = json.loads(text)
        return document.keys() == {"summary", "files"} and all(
            columns <= entry.keys() for entry in document["files"]
        )
    except (csv.Error, ValueError, AttributeError, TypeError, RecursionError):
        return False


def write_report(path: Path, rows: list[Row], totals: Totals, seconds: float) -> None:
    """Write all rows, sorted by file, as JSON with the totals or as CSV.

    Raises TicodecError when the file cannot be written.
    """
    names = [entry.name for entry in fields(Row) if entry.name not in INTERNAL]
    ordered = sorted(rows, key=lambda row: row.file)
    listed = [{name: _rounded(getattr(row, name)) for name in names} for row in ordered]
    if path.suffix.lower() == ".json":
        for entry in listed:
            entry["notes"] = [{"kind": note.kind, "text": note.text} for note in entry["notes"]]
        document = {"summary": totals.summary(seconds), "files": listed}
        write_file(path, (json.dumps(document, indent=1) + "\n").encode())
        return
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    for entry in listed:
        entry["notes"] = "; ".join(f"{note.kind}: {note.text}" for note in entry["notes"])
    writer.writerows(listed)
    # File names are bytes to the system. Names that are not Unicode are written unchanged.
    write_file(path, text.getvalue().encode("utf-8", "surrogateescape"))


def _rounded(value: Any) -> Any:
    return round(value, 6) if isinstance(value, float) else value
