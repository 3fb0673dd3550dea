"""A checkpoint in small files, for places that large files do not get out of.

    RUN/parts/  weights.0, weights.1, …   consecutive pieces of one checkpoint, of a largest size
                index.json                their names, sizes and digests; written last
                done                      there once the run has ended; nothing changes after it

A set replaces the one before it. Whoever copies the folder in that moment has pieces of both: their
digests are not those of the index, and `join` says so. Imports no torch, since `--help` reads the
options.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ticodec.errors import BadInputError, TicodecError, UsageError
from ticodec.files import make_folder, read_file, reason, write_file

#: The folder of parts within that of the run.
PARTS = "parts"
INDEX, DONE = "index.json", "done"
MIB = 2**20
#: Minutes from one set to the next.
MINUTES = 3.0


@dataclass(frozen=True)
class PartOptions:
    """What a run leaves in parts.

    Raises UsageError for what cannot be, or does not go together.
    """

    part_mib: int | None = field(
        default=None,
        metadata={
            "help": "Leave the averaged weights in OUT/parts while training, in files of at most "
            "this many MiB: `export` and --init read that folder."
        },
    )
    part_minutes: float | None = field(
        default=None,
        metadata={"help": f"Minutes from one set of parts to the next. [default: {MINUTES:g}]"},
    )

    def __post_init__(self) -> None:
        if self.part_mib is not None and self.part_mib < 1:
            raise UsageError("`part_mib` must be at least 1")
        if self.part_minutes is not None:
            if self.part_mib is None:
                raise UsageError("`part_minutes` is for weights in parts: give `part_mib` too")
            if not self.part_minutes > 0:
                raise UsageError("`part_minutes` must be above 0")

    @property
    def minutes(self) -> float:
        """From one set to the next."""
        return MINUTES if self.part_minutes is None else self.part_minutes


def are_in(folder: Path) -> bool:
    """Whether a folder has a set of parts."""
    return (folder / INDEX).is_file()


def begin(folder: Path) -> None:
    """Make the folder of a run that begins; it is not done.

    Raises TicodecError when the disk refuses.
    """
    make_folder(folder)
    try:
        (folder / DONE).unlink(missing_ok=True)
    except OSError as error:
        raise TicodecError(f"{folder / DONE}: cannot be removed: {reason(error)}") from error


def write(folder: Path, data: bytes, mib: int, facts: dict[str, Any]) -> None:
    """Replace the set of parts in a folder.

    Args:
        data: a checkpoint; mib: the largest size of a part, MiB, at least 1.
        facts: of the checkpoint, for people who read the index.

    Raises TicodecError when the disk refuses.
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
        # All are written: the old set becomes the new one within a moment.
        for path in written:
            path.replace(path.with_suffix(""))
        write_file(folder / INDEX, json.dumps({**facts, "parts": rows}, indent=2).encode())
        for path in folder.glob("weights.*"):
            if path.name not in names:  # of an earlier, larger set
                path.unlink()
    except OSError as error:
        raise TicodecError(f"{folder}: cannot write the weights: {reason(error)}") from error


def finish(folder: Path) -> None:
    """Say that the run has ended. Raises TicodecError when the disk refuses."""
    write_file(folder / DONE, b"")


def join(folder: Path) -> bytes:
    """The checkpoint of a set of parts.

    Raises BadInputError when there is none, or these parts are not one whole set.
    """
    path = folder / INDEX
    if not path.is_file():
        raise BadInputError(f"{folder}: no weights in it: there is no {INDEX}")
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
                f"{folder}: {name} is not of the set that {INDEX} lists; it was copied while "
                "the run replaced it, or is damaged: copy the whole folder again"
            )
    return b"".join(pieces)


def digest(piece: bytes) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(piece).hexdigest()
