"""Collects what a file has besides its picture, and makes notes of it.

look (jpeg_file, png_file, …) ─► Found ─► one note for each kind
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ticodec.notes import Note
from ticodec.shown import shown

#: The text of a note, by its kind. The names of what was found are appended.
SENTENCES = {
    "video": "its video is dropped",
    "gain-map": "its gain map, which is for HDR screens, is dropped",
    "depth-map": "its depth map is dropped",
    "auxiliary": "images that belong to its picture are dropped",
    "iptc": "IPTC data is dropped",
    "photoshop": "Photoshop data is dropped",
    "xmp": "XMP is dropped",
    "exif": "EXIF is dropped",
    "text": "text stored with the picture is dropped",
    "credentials": "content credentials (C2PA) are dropped",
    "metadata": "other data is dropped",
    "thumbnail": "a smaller copy of the picture is dropped",
    "colour": "an ICC profile that cannot be read is dropped",
}
MOST_NAMES = 5
LONGEST_NAME = 40


class Found:
    """What was found in a file besides its picture, by kind of note."""

    def __init__(self) -> None:
        self._things: dict[str, Counter[str]] = {}

    def add(self, kind: str, name: str = "", count: int = 1) -> None:
        """Add a thing, or `count` of them.

        Args:
            kind: the kind of note.
            name: what it is, in a word or two. It may come from the file.
        """
        if count > 0:
            self._things.setdefault(kind, Counter())[_short(name)] += count

    def __contains__(self, kind: str) -> bool:
        return kind in self._things

    def notes(self) -> list[Note]:
        """A note for each kind, in the order in which they were found."""
        return [Note(kind, _sentence(kind, things)) for kind, things in self._things.items()]


def _sentence(kind: str, things: Counter[str]) -> str:
    if kind in ("frames", "pages"):
        return f"{_counted(things.total(), f'further {next(iter(things))}')} dropped"
    if kind == "layers":
        return f"{_counted(things.total(), 'layer')} merged into one picture"
    if kind == "channels":
        return f"{_counted(things.total(), 'extra channel')} dropped"
    if kind == "bits":
        return f"{max(things, key=int)} bits per channel are reduced to 8"
    names = ", ".join(_first_names([name for name in things if name]))
    if kind == "trailing":
        sentence = f"{_counted(things.total(), 'byte', ' after the image')} dropped"
    else:
        sentence = SENTENCES[kind]
    return f"{sentence}: {names}" if names else sentence


def _counted(number: int, thing: str, where: str = "") -> str:
    return f"{number:,} {thing}{where} is" if number == 1 else f"{number:,} {thing}s{where} are"


def _first_names(names: list[str]) -> Iterator[str]:
    yield from names[:MOST_NAMES]
    if len(names) > MOST_NAMES:
        yield f"and {len(names) - MOST_NAMES} more"


def _short(name: str) -> str:
    """Make a name from a file safe to print, and shorten it."""
    name = shown(name[: LONGEST_NAME + 1])
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
