"""Notes, which tell the owner of a photo what its `.tic` file does not keep."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace

#: The kind of note for a `.tic` file that is larger than its photo.
LARGER = "larger"


@dataclass(frozen=True)
class Note:
    """Something about a photo that its owner should know.

    Args:
        kind: one word for scripts, such as "frames". docs/what-is-kept.md lists all kinds.
        text: what happens, as a short sentence without a full stop.
        lost: whether the photo has something that its `.tic` file does not have. If so,
            `batch --delete-source-after-verify` keeps the photo.
    """

    kind: str
    text: str
    lost: bool = True

    def __str__(self) -> str:
        return self.text

    def as_wished(self) -> Note:
        """A copy that is not `lost`, because the photo's owner asked for what the note reports."""
        return replace(self, lost=False)


class TicodecWarning(UserWarning):
    """The kind of warning that Python callers get for each note."""


def note_of_size(source: int, tic: int) -> list[Note]:
    """A note if a `.tic` file is larger than the photo that it was made from.

    Args:
        source, tic: the sizes of both files, in bytes.
    """
    if tic <= source:
        return []
    text = f"the .tic file is larger than its source: {tic:,} bytes instead of {source:,}"
    return [Note(LARGER, text, lost=False)]


def warn(notes: Iterable[Note]) -> None:
    """Give notes to a Python caller of the library as warnings.

    There is no warning about what the caller asked to leave out.
    """
    for note in notes:
        if note.kind != "stripped":
            warnings.warn(note.text, TicodecWarning, stacklevel=3)
