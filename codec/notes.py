"""Notes: what the owner of a photo is told when its `.tic` file does not keep all of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace

#: The kind of the note that a `.tic` file is larger than its photo.
LARGER = "larger"


@dataclass(frozen=True)
class Note:
    """Something about a photo that its owner should know.

    Args:
        kind: one word for scripts, such as "frames"; docs/what-is-kept.md lists them all.
        text: what happens, as a short sentence without a full stop.
        lost: whether the photo has something that its `.tic` file does not: then
            `batch --delete-source-after-verify` keeps the photo.
    """

    kind: str
    text: str
    lost: bool = True

    def __str__(self) -> str:
        return self.text

    def as_wished(self) -> Note:
        """The same note when the photo's owner asked for it: then it is no loss."""
        return replace(self, lost=False)


class TicodecWarning(UserWarning):
    """The warning by which Python callers get a note."""


def note_of_size(source: int, tic: int) -> list[Note]:
    """A note when a `.tic` file is larger than the photo that it was made of; both in bytes."""
    if tic <= source:
        return []
    text = f"the .tic file is larger than its source: {tic:,} bytes, {source:,} before"
    return [Note(LARGER, text, lost=False)]


def warn(notes: Iterable[Note]) -> None:
    """Give notes to a Python caller of the library, as warnings."""
    for note in notes:
        warnings.warn(note.text, TicodecWarning, stacklevel=3)
