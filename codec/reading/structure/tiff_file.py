"""Finds what a TIFF has besides its first picture."""

from __future__ import annotations

from PIL import Image

from . import photoshop
from .behind import look_behind
from .found import Found
from .tiff_directories import Directories, Entry

NEW_SUBFILE_TYPE, SUBFILE_TYPE, BITS, PHOTOMETRIC, SAMPLES = 254, 255, 258, 262, 277
SUB_DIRECTORIES, TRANSFER_FUNCTION = 330, 301
#: The tags that point to other directories: EXIF, GPS, and interoperability.
BLOCKS = (34665, 34853, 40965)
#: The value of the old tag SUBFILE_TYPE for a smaller copy of a picture.
REDUCED = 2
PHOTOSHOP, LAYERS, CREDENTIALS = 34377, 37724, 52545
#: How many samples a colour has, by the photometric interpretation. All others have one.
COLOURS = {2: 3, 5: 4, 6: 3, 8: 3, 9: 3, 10: 3}
MOST_PAGES = 10_000


def look(data: bytes, image: Image.Image, found: Found) -> None:
    """Find what a TIFF has besides its first picture. Raises TooManySteps."""
    directories = Directories(data)
    entries, following = directories.at(directories.first)
    bits = max(directories.numbers(entries.get(BITS)), default=1)
    if bits > 8:
        found.add("bits", str(bits))
    _look_at_channels(directories, entries, image, found)
    if PHOTOSHOP in entries:
        start = entries[PHOTOSHOP].at
        end = start + entries[PHOTOSHOP].length
        photoshop.look(data, start, end, found)
    if LAYERS in entries:
        found.add("photoshop", "layers")
    if CREDENTIALS in entries:
        found.add("credentials")
    if TRANSFER_FUNCTION in entries:
        found.add("metadata", "transfer function")
    for offset in directories.numbers(entries.get(SUB_DIRECTORIES)):
        below, _ = directories.at(offset)
        found.add("thumbnail" if is_smaller(directories, below) else "auxiliary")
    _look_at_pages(directories, following, found)
    if "pages" not in found:  # some programs leave unused bytes after the last page
        look_behind(data, _end(directories), found)


def _end(directories: Directories) -> int:
    """The offset after everything that a TIFF's directories point to. Raises TooManySteps."""
    waiting, seen, end = [directories.first], set[int](), 0
    while waiting:
        offset = waiting.pop()
        if offset and offset not in seen:
            seen.add(offset)
            end = max(end, directories.end(offset))
            entries, following = directories.at(offset)
            waiting.append(following)
            for tag in (SUB_DIRECTORIES, *BLOCKS):
                waiting += directories.numbers(entries.get(tag))
    return end


def _look_at_channels(
    directories: Directories, entries: dict[int, Entry], image: Image.Image, found: Found
) -> None:
    """Find channels that are neither colours nor alpha."""
    samples = directories.number(entries.get(SAMPLES), 1)
    photometric = directories.number(entries.get(PHOTOMETRIC), 1)
    alpha = image.mode in ("LA", "La", "PA", "RGBA", "RGBa")
    found.add("channels", count=samples - COLOURS.get(photometric, 1) - alpha)


def _look_at_pages(directories: Directories, offset: int, found: Found) -> None:
    """Find further pages, and smaller copies of pages."""
    seen = {directories.first}
    while offset and offset not in seen and len(seen) <= MOST_PAGES:
        seen.add(offset)
        entries, offset = directories.at(offset)
        if not entries:
            continue
        if is_smaller(directories, entries):
            found.add("thumbnail")
        else:
            found.add("pages", "page")


def is_smaller(directories: Directories, entries: dict[int, Entry]) -> bool:
    """Whether a directory describes a smaller copy of another picture."""
    return (
        bool(directories.number(entries.get(NEW_SUBFILE_TYPE), 0) & 1)
        or directories.number(entries.get(SUBFILE_TYPE), 0) == REDUCED
    )
