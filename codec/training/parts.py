"""A checkpoint in small files, for machines from which large files cannot be copied.

    RUN/parts/  weights.0, weights.1, …   consecutive pieces of one checkpoint, of limited size
                index.json                their names, sizes and digests, written last
                done                      exists once the run has ended and nothing changes any more

A new set of files replaces the old set. If the folder is copied at that moment, the copy may mix
pieces of both. Then their digests differ from those in the index, and `join` reports an error.

This module imports no torch, because `--help` reads the options.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ticodec.errors import BadInputError, TicodecError, UsageError
from ticodec.files import make_folder, read_file, reason, write_file

#: The folder of parts inside the folder of the run.
PARTS = "parts"
INDEX, DONE = "index.json", "done"
MIB = 2**20
#: Default of `part_minutes`.
MINUTES = 3.0


@dataclass(frozen=True)
class PartOptions:
    """How often a run leaves its weights in parts, and how large these are.

    Raises:
        UsageError: A value is out of range, or the two options do not fit together.
    """

    part_mib: int | None = field(
        default=None,
        metadata={
            "help": "During the run, write the averaged weights into the folder `parts` in --out, "
            "in files of at most this many MiB. `ticodec export` and --init can read that folder."
        },
    )
    part_minutes: float | None = field(
        default=None,
        metadata={
            "help": "With --part-mib: the number of minutes from one set of files to the next. "
            f"[default: {MINUTES:g}]"
        },
    )

    def __post_init__(self) -> None:
        if self.part_mib is not None and self.part_mib < 1:
            raise UsageError("`part_mib` must be at least 1")
        if self.part_minutes is not None:
            if self.part_mib is None:
                raise UsageError("`part_minutes` needs `part_mib`: give both")
            if not self.part_minutes > 0:
                raise UsageError("`part_minutes` must be above 0")

    @property
    def minutes(self) -> float:
        """Minutes from one set of parts to the next."""
        return MINUTES if self.part_minutes is None else self.part_minutes


def are_in(folder: Path) -> bool:
    """Whether a folder has a set of parts."""
    return (folder / INDEX).is_file()


def begin(folder: Path) -> None:
    """Make the folder for a run that starts, and remove the file `done` of an earlier run.

    Raises:
        TicodecError: The folder cannot be written.
    """
    make_folder(folder)
    try:
        (folder / DONE).unlink(missing_ok=True)
    except OSError as error:
        raise TicodecError(f"{folder / DONE}: cannot be removed: {reason(error)}") from error


def write(folder: Path, data: bytes, mib: int, facts: dict[str, Any]) -> None:
    """Replace the set of parts in a folder.

    Args:
        folder: the folder of parts.
        data: a checkpoint.
        mib: the largest size of a part in MiB, at least 1.
        facts: facts about the checkpoint, for people who read the index.

    Raises:
        TicodecError: The folder cannot be written.
    """
    size = mib * MIB
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    names = [f"weights.{number}" for number in range(len(pieces))]
    rows = [
        {"name": name, "bytes": len(piece), "sha256": digest(piece)}
        for name, piece in zip(names, pieces, strict=True)
    ]
    try:
        written = [folder / f"{name}.part" for name in names]
        for path, piece in zip(written, pieces, strict=True):
            path.write_bytes(piece)
        # All pieces are written. Renaming them replaces the old set in very little time.
        for path in written:
            path.replace(path.with_suffix(""))
        write_file(folder / INDEX, json.dumps({**facts, "parts": rows}, indent=2).encode())
        for path in folder.glob("weights.*"):
            if path.name not in names:  # left from an earlier, larger set
                path.unlink()
    except OSError as error:
        raise TicodecError(f"{folder}: cannot write the weights: {reason(error)}") from error


def finish(folder: Path) -> None:
    """Mark the run as ended. Raises TicodecError when the folder cannot be written."""
    write_file(folder / DONE, b"")


def join(folder: Path) -> bytes:
    """Joins a set of parts to a checkpoint.

    Raises:
        BadInputError: There are no parts, or they are not one complete set.
    """
    path = folder / INDEX
    if not path.is_file():
        raise BadInputError(f"{folder}: contains no weights: {INDEX} is missing")
    text = read_file(path)
    try:
        digests = {Path(row["name"]).name: row["sha256"] for row in json.loads(text)["parts"]}
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(f"{path}: not an index of weights") from error
    pieces = []
    for name, wanted in digests.items():
        pieces.append(read_file(folder / name))
        if digest(pieces[-1]) != wanted:
            raise BadInputError(
                f"{folder}: {name} does not belong to the set that {INDEX} lists. It is damaged, "
                "or was copied while the run replaced it: copy the whole folder again"
            )
    return b"".join(pieces)


def digest(piece: bytes) -> str:
    """The SHA-256 of a piece, in hexadecimal."""
    return hashlib.sha256(piece).hexdigest()
