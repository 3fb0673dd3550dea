"""Recognises files by their bytes: a format of Pillow, a camera's raw file, or not an image at all.

bytes ─┬─► a raw file? ─► refused, because Pillow would return its small preview
       ├─► HEIC or JPEG XL? ─► opened by an optional package; other images by Pillow
       └─► not an image? ─► the message says what it seems to be
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from io import BytesIO

from PIL import Image

from ticodec.errors import BadInputError, UsageError
from ticodec.extras import of_extra

from .jpegxl import is_jpegxl
from .structure.steps import TooManySteps
from .structure.tiff_directories import TIFF, Directories
from .structure.tiff_file import PHOTOMETRIC, SUB_DIRECTORIES, is_smaller

RAW = (
    "a raw file of a camera, or a file whose first picture is only a small preview; "
    "develop it to a TIFF or JPEG first"
)
#: The first bytes of raw files that are not TIFF files, from cameras of Fujifilm, Panasonic,
#: Olympus, Sigma and Minolta.
_RAW_BEGINNINGS = (b"FUJIFILMCCD-RAW", b"IIU\0", b"IIRO", b"IIRS", b"MMOR", b"FOVb", b"\0MRM")
#: Bytes that raw files of Canon have at an offset.
_RAW_MARKS = ((4, b"ftypcrx "), (6, b"HEAPCCDR"), (4, b"\x10\0\0\0CR\2\0"))

#: A tag that every DNG has, and the photometric interpretations of a camera's sensor.
_DNG, _SENSOR = 50706, (32803, 34892)

#: The brands of files that pillow-heif reads, and of AVIF files, which Pillow reads itself.
_HEIF = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_AVIF = {b"avif", b"avis"}

_RENDER = "draw it as a PNG first"
#: What the files are that Pillow recognises, but cannot decode itself.
NO_PICTURES = {
    "EPS": f"a PostScript document; {_RENDER}",
    "WMF": f"a drawing of Windows (WMF, EMF); {_RENDER}",
    "MPEG": "a video",
    "BUFR": "a table of measurements (BUFR)",
    "GRIB": "a table of measurements (GRIB)",
    "HDF5": "a table of measurements (HDF5)",
}
#: (offset, bytes at this offset, what such a file is)
_SIGNATURES = (
    (0, b"%PDF", f"a PDF document; {_RENDER}"),
    (0, b"%!PS", NO_PICTURES["EPS"]),
    (4, b"ftypM4A", "an audio file"),
    *((4, b"ftyp" + brand, "a damaged HEIC or AVIF photo") for brand in sorted(_HEIF | _AVIF)),
    (4, b"ftyp", "a video"),
    (4, b"moov", "a video"),
    (4, b"mdat", "a video"),
    (4, b"wide", "a video"),
    (8, b"AVI ", "a video"),
    (8, b"WAVE", "an audio file"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (0, b"\0\0\x01\xba", "a video"),
    (0, b"\0\0\x01\xb3", "a video"),
    (0, b"OggS", "an audio file or a video"),
    (0, b"ID3", "an audio file"),
    (0, b"PK\x03\x04", "a ZIP archive or an office document; unpack it first"),
    (0, b"7z\xbc\xaf\x27\x1c", "an archive; unpack it first"),
    (0, b"Rar!", "an archive; unpack it first"),
    (0, b"\x1f\x8b", "compressed by gzip; unpack it first"),
    (0, b"\xff\xd8\xff", "a damaged JPEG"),
    (0, b"\x89PNG", "a damaged PNG"),
    (0, b"GIF8", "a damaged GIF"),
    (8, b"WEBP", "a damaged WebP"),
    (0, b"II*\0", "a damaged TIFF"),
    (0, b"MM\0*", "a damaged TIFF"),
)
_SVG = re.compile(rb"<svg[\s>]", re.IGNORECASE)
_HTML = re.compile(rb"<(!doctype\s+html|html[\s>])", re.IGNORECASE)
_CONTROL = re.compile(rb"[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]")


def is_raw(data: bytes) -> bool:
    """Whether a file is a camera's raw file, or a TIFF whose first picture is only a preview."""
    if data.startswith(_RAW_BEGINNINGS):
        return True
    if any(data.startswith(mark, at) for at, mark in _RAW_MARKS):
        return True
    if not data.startswith(TIFF):
        return False
    directories = Directories(data)
    try:
        entries, _ = directories.at(directories.first)
    except TooManySteps:
        return False
    return (
        is_smaller(directories, entries)
        or directories.number(entries.get(PHOTOMETRIC), 0) in _SENSOR
        or (_DNG in entries and SUB_DIRECTORIES in entries)
    )


def opener(data: bytes) -> Callable[[BytesIO], Image.Image]:
    """Choose the function that opens this kind of file.

    Raises BadInputError if a package is missing. The message names the extra that has it.
    """
    major, brands = _brands(data)
    try:
        if brands & _AVIF:
            return partial(Image.open, formats=["AVIF"])
        if major in _HEIF:
            with of_extra("heif", "a HEIC photo"):
                from pillow_heif import HeifImageFile

            # The plugin is not registered with Pillow, because it would then open AVIF files too.
            return HeifImageFile
        if is_jpegxl(data):
            with of_extra("jxl", "a JPEG XL photo"):
                import pillow_jxl  # noqa: F401  registers the format with Pillow

            return partial(Image.open, formats=["JXL"])
    except UsageError as error:
        raise BadInputError(str(error)) from error
    return Image.open


def _brands(data: bytes) -> tuple[bytes, set[bytes]]:
    """The main brand of a file of boxes, and all its brands. HEIC, AVIF and videos have brands."""
    if data[4:8] != b"ftyp":
        return b"", set()
    end = min(int.from_bytes(data[:4], "big"), len(data), 1024)
    return data[8:12], {data[at : at + 4] for at in range(8, end, 4)}


def no_image(data: bytes, kind: str | None = None) -> str:
    """The message for a file that is not an image. It says what the file seems to be, if possible.

    Args:
        kind: Pillow's name of its format, one of `NO_PICTURES`. None if Pillow knows no format.
    """
    seems = NO_PICTURES[kind] if kind else _seems(data)
    return "not an image that Pillow can read" + (f"; it seems to be {seems}" if seems else "")


def _seems(data: bytes) -> str | None:
    for at, mark, what in _SIGNATURES:
        if data.startswith(mark, at):
            return what
    beginning = data[:4096]
    if not beginning.strip(b"\0"):
        return "nothing but zeros" if not data.strip(b"\0") else None
    if _CONTROL.search(beginning):
        return None
    if _HTML.search(beginning):
        return "a web page (HTML)"
    if _SVG.search(beginning):
        return f"an SVG drawing; {_RENDER}"
    if beginning.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS; fetch the file itself with git lfs pull"
    return "text"
