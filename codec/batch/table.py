"""Writes the labels of many files into one table: CSV, JSON lines or Parquet.

rows ─► a part beside the table every few seconds ─► at the end the table, and parts are deleted

A run that continues a killed run reads the parts that the killed run left.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import re
import time
from pathlib import Path, PurePosixPath
from typing import Any

from ticodec import weights
from ticodec.errors import BadInputError, TicodecError, UsageError
from ticodec.extras import of_extra
from ticodec.files import PART_PREFIX, PART_SUFFIX, check_name, read_file, remove_parts

from .messages import Item, Job, Row, files
from .storage import Local, Place, place

SUFFIXES = (".csv", ".jsonl", ".parquet")
#: A part is written after this many seconds or rows. After kill -9 at most this much is done again.
SECONDS, ROWS = 10.0, 500
PART_NAME = re.compile(r"\d{6}\.jsonl")

Record = dict[str, Any]


class Table:
    """The table of a classifying run.

    Args:
        url: path or fsspec URL of the file, with one of `SUFFIXES`.

    Raises UsageError for another suffix, or when the package for Parquet is not installed.
    """

    def __init__(self, url: str, job: Job) -> None:
        self.job, self.url = job, url
        self.suffix = PurePosixPath(url).suffix.lower()
        if self.suffix not in SUFFIXES:
            raise UsageError(f"{url}: labels are written to .csv, .jsonl or .parquet")
        if self.suffix == ".parquet":
            _pyarrow()
        above, _, self.name = url.rpartition("/")
        self.place: Place = place(above or ("/" if url.startswith("/") else "."))
        self.settings: Record = {
            "classifier": _classifier(job),
            "asked_model": job.model or "",
            "asked_quality": job.quality or "",
            "top": job.top,
        }
        self.parts = f"{self.name}.parts"
        if isinstance(self.place, Local):
            check_name(self.place.root / self.parts)
        self.records: dict[str, Record] = {}
        self.unsaved: list[Record] = []
        self.saved, self.written = time.monotonic(), 0

    def prepare(self) -> None:
        """Check that the folder can be written, and remove the temporary files of killed runs.

        Raises TicodecError when the folder cannot be written.
        """
        if isinstance(self.place, Local):
            if not self.place.path.is_dir():
                raise UsageError(f"{self.url}: there is no folder {self.place.url}")
            for folder in (self.place.path, self.place.path / self.parts):
                remove_parts(list(folder.glob(f"{PART_PREFIX}*{PART_SUFFIX}")))
        self.place.check_writable()
        self.place.prepare()

    def known(self) -> dict[str, Record]:
        """The records of an earlier run, finished or killed, by file.

        Raises BadInputError when the file at this URL is not a table of labels.
        """
        records: dict[str, Record] = {}
        if self.place.look(self.name) is not None:
            try:
                checked = map(self._checked, self._parse())
                records = {str(record["file"]): record for record in checked}
            except (KeyError, ValueError, TypeError) as error:
                if not self.job.replace:
                    raise BadInputError(
                        f"{self.url} exists and is not a table of labels; `replace` overwrites it"
                    ) from error
        for name in self._part_names():
            self.written = max(self.written, int(name[:6]) + 1)
            for line in self.place.read(f"{self.parts}/{name}").decode().splitlines():
                record = self._checked(json.loads(line))
                records[record["file"]] = record
        return records

    def check(self, known: dict[str, Record], items: list[Item]) -> None:
        """Raises BadInputError when the existing table has files that the new one would lack."""
        gone = known.keys() - {_name(item.name) for item in items}
        if gone and not self.job.replace:
            raise BadInputError(
                f"{self.url} has rows of {files(len(gone))} that this run does not have "
                f"({min(gone)}, …); give the table another name, or `replace` to drop them"
            )

    def _checked(self, record: Record) -> Record:
        if not {"file", "bytes", "modified", "width", "height", "bpp", *self.settings} <= set(
            record
        ):
            raise KeyError("columns")
        return record

    def sift(self, items: list[Item], known: dict[str, Record]) -> list[Item | Row]:
        """Each item that is still to be done, and for each other item the row of its record."""
        sifted: list[Item | Row] = []
        for item in items:
            record = known.get(_name(item.name))
            if record is None or not self._same(record, item):
                sifted.append(item)
                continue
            self.records[_name(item.name)] = record
            size = {"width": int(record["width"]), "height": int(record["height"])}
            bpp = float(record["bpp"])
            row = Row.of(item, "skipped", bpp=bpp, model=record["model"], **size)
            sifted.append(row)
        return sifted

    def _same(self, record: Record, item: Item) -> bool:
        modified = record["modified"]
        same_time = (modified in ("", None)) == (item.modified is None) and (
            item.modified is None or abs(float(modified) - item.modified) < 1e-3
        )
        same = all(str(record[name]) == str(value) for name, value in self.settings.items())
        return same and same_time and int(record["bytes"]) == item.size

    def add(self, row: Row) -> None:
        """Add a row that was done. Writes a part from time to time."""
        record: Record = {
            "file": _name(row.file),
            "width": row.width,
            "height": row.height,
            "bytes": row.bytes_in,
            "modified": row.modified,
            "bpp": round(row.bpp or 0.0, 6),
            "model": row.model,
            **self.settings,
        }
        for number in range(self.job.top):
            label, probability = row.labels[number] if number < len(row.labels) else ("", None)
            after = f"_{number + 1}" if number else ""
            rounded = None if probability is None else round(probability, 6)
            record |= {f"label{after}": label, f"probability{after}": rounded}
        self.records[record["file"]] = record
        self.unsaved.append(record)
        if len(self.unsaved) >= ROWS or time.monotonic() - self.saved >= SECONDS:
            self.save()

    def save(self) -> None:
        """Write the rows since the last part, so that a killed run does not lose them."""
        if self.unsaved:
            lines = "".join(json.dumps(record) + "\n" for record in self.unsaved)
            self.place.write(f"{self.parts}/{self.written:06d}.jsonl", lines.encode())
            self.written += 1
        self.unsaved, self.saved = [], time.monotonic()

    def finish(self) -> None:
        """Write the table of all records, sorted by file, and delete the parts."""
        self.save()
        self.place.write(self.name, self._format([self.records[k] for k in sorted(self.records)]))
        for name in self._part_names():
            self.place.delete(f"{self.parts}/{name}")
        if isinstance(self.place, Local):
            with contextlib.suppress(OSError):  # no such folder, or other files are in it
                (self.place.root / self.parts).rmdir()

    def _part_names(self) -> list[str]:
        try:
            listed = place(f"{self.place.url.rstrip('/')}/{self.parts}").files()
            return sorted(file.name for file in listed if PART_NAME.fullmatch(file.name))
        except TicodecError:  # there is no folder of parts
            return []

    def _format(self, records: list[Record]) -> bytes:
        if self.suffix == ".jsonl":
            return "".join(json.dumps(record) + "\n" for record in records).encode()
        names = list(records[0]) if records else ["file"]
        if self.suffix == ".csv":
            text = io.StringIO(newline="")
            writer = csv.DictWriter(text, names)
            writer.writeheader()
            writer.writerows(records)
            return text.getvalue().encode()
        pyarrow, parquet = _pyarrow()
        sink = pyarrow.BufferOutputStream()
        columns = {name: [record[name] for record in records] for name in names}
        parquet.write_table(pyarrow.table(columns), sink)
        return bytes(sink.getvalue())

    def _parse(self) -> list[Record]:
        data = self.place.read(self.name)
        if self.suffix == ".jsonl":
            return [json.loads(line) for line in data.decode().splitlines()]
        if self.suffix == ".csv":
            reader = csv.DictReader(io.StringIO(data.decode(), newline=""))
            if "file" not in (reader.fieldnames or ()):
                raise ValueError("no column of files")
            return list(reader)
        pyarrow, parquet = _pyarrow()
        try:
            return list(parquet.read_table(pyarrow.BufferReader(data)).to_pylist())
        except pyarrow.ArrowException as error:
            raise ValueError(str(error)) from error


def _classifier(job: Job) -> str:
    """A digest of every classifier that the run may use, because labels depend on them."""
    if job.head is not None:
        named = read_file(Path(job.head))
    else:
        entries = weights.entries()
        named = "".join(f"{e.sha256}{e.head.sha256 if e.head else ''}" for e in entries).encode()
    return hashlib.sha256(named).hexdigest()[:16]


def _name(name: str) -> str:
    """A file's name as Unicode. Bytes that are not Unicode are written as \\xNN."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _pyarrow() -> tuple[Any, Any]:
    with of_extra("parquet", "a Parquet table"):
        import pyarrow
        import pyarrow.parquet
    return pyarrow, pyarrow.parquet
