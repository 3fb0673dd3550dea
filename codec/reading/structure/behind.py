"""Finds what follows the end of an image: further pictures, videos, a phone's data, other bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from .found import Found
from .jpeg_segments import END, segments
from .steps import number, steps

MOST_PARTS = 200
#: What a gain map has in its header: by Adobe and Google, by ISO 21496-1, and by Apple.
GAIN_MAP = re.compile(rb"hdrgm:|urn:iso:std:iso:ts:21496:-1|hdrgainmap")
#: The type of a further picture in files of Apple.
AUXILIARY = re.compile(rb"AuxiliaryImageType\W{1,40}([\w:.-]{1,80})")
#: What follows "ftyp" in a video, such as "mp42".
BRAND = re.compile(rb"[\w ]{4}")
_BLOCK = 1 << 20


def look_behind(
    data: bytes,
    end: int,
    found: Found,
    pictures: dict[int, str] | None = None,
    meanings: Sequence[str] = (),
) -> None:
    """Find what follows the end of an image. Raises TooManySteps.

    Args:
        data: the file.
        end: the offset where the image ends.
        found: gets what is found.
        pictures: the offsets of further pictures that the file itself lists, with the kind of note
            for each. The kind is "" if the list does not say what the picture is.
        meanings: what the parts after the image are, in their order, such as "GainMap", if the file
            says it.
    """
    pictures = pictures or {}
    stop = _samsung(data, end, found)
    at = end
    for part in steps(MOST_PARTS):
        at = _behind_zeros(data, at, stop)
        if at >= stop:
            return
        meaning = meanings[part] if part < len(meanings) else ""
        if data.startswith(b"\xff\xd8\xff", at):
            kind, after = _picture(data, at, stop, pictures.get(at, ""), meaning)
            found.add(kind, "picture" if kind == "frames" else "")
            at = after
            continue
        later = [start for start in pictures if at < start < stop]
        after = min(later, default=stop)
        video = _video(data, at, after)
        if 0 <= video <= at:  # it may begin before `at`, because its first bytes are zeros
            found.add("video")
        else:
            after = after if video < 0 else video
            found.add("trailing", count=after - at)
        at = after


def kind_of_auxiliary(name: str) -> str:
    """The kind of note for an auxiliary image, by the name of its type. "" if it is alpha."""
    name = name.lower()
    if "gainmap" in name:
        return "gain-map"
    if "depth" in name or "disparity" in name or name.endswith("auxid:2"):
        return "depth-map"
    return "" if name.endswith(("alpha", "auxid:1")) else "auxiliary"


def _picture(data: bytes, at: int, stop: int, listed: str, meaning: str) -> tuple[str, int]:
    """The kind of note for the JPEG at the start of data[at:stop], and the offset of its end."""
    kind = listed
    after = stop
    for segment in segments(data, at, most=1_000):
        if segment.marker == END:
            after = min(segment.end, stop)
        elif data.startswith((b"http://ns.", b"urn:"), segment.start):
            content = data[segment.start : segment.end]
            named = AUXILIARY.search(content)
            if GAIN_MAP.search(content):
                kind = "gain-map"
            elif named:
                kind = kind_of_auxiliary(named[1].decode("latin-1")) or "auxiliary"
    if meaning in ("GainMap", "Depth"):
        kind = kind_of_auxiliary(meaning)
    return kind or "frames", after


def _video(data: bytes, at: int, stop: int) -> int:
    """The offset of an MP4 video whose brand is in data[at:stop], or -1 if there is none."""
    for _ in range(MOST_PARTS):
        name = data.find(b"ftyp", at, stop)
        if name < 0 or BRAND.fullmatch(data, name + 4, name + 8):
            return max(name - 4, -1)
        at = name + 4
    return -1


def _behind_zeros(data: bytes, at: int, stop: int) -> int:
    """The offset of the first byte in data[at:stop] that is not zero, or `stop` if all are zero."""
    everything = np.frombuffer(data, np.uint8)
    while at < stop:
        filled = everything[at : min(at + _BLOCK, stop)] != 0
        if filled.any():
            return at + int(filled.argmax())
        at += _BLOCK
    return stop


def _samsung(data: bytes, end: int, found: Found) -> int:
    """Find what Samsung's phones append to their photos.

    At the very end of the file they write a list: "SEFH", a version, and the number of entries; for
    each entry a kind, its distance to the list, and its size; and finally the size of the list and
    "SEFT".

    Returns:
        The offset where the appended data starts, or the length of the file if there is none.
    """
    start = len(data)
    size = number(data, start - 8, 4, "little") if data.endswith(b"SEFT") else 0
    head = start - 8 - size
    if head < end or data[head : head + 4] != b"SEFH":
        return start
    first = head
    for entry in range(head + 12, min(head + 12 + 12 * MOST_PARTS, start - 19), 12):
        at = head - number(data, entry + 4, 4, "little")
        if not end <= at < head:
            continue
        first = min(first, at)
        name = data[at + 8 : at + 8 + min(number(data, at + 4, 4, "little"), 64)].decode("latin-1")
        if "MotionPhoto" in name:
            found.add("video")
        elif "Depth" in name:
            found.add("depth-map")
        else:
            found.add("trailing", name, number(data, entry + 8, 4, "little"))
    if first == head:
        found.add("trailing", count=start - first)
    return first
