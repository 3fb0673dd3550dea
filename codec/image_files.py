"""Finds image files in folders."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from .errors import BadInputError


class Needed(NamedTuple):
    """Suffixes of image files that cannot be read without a module of an extra."""

    module: str
    suffixes: frozenset[str]


#: What cannot be read without an extra, by the name of the extra.
NEED_EXTRAS = {
    "heif": Needed("pillow_heif", frozenset({".heic", ".heics", ".heif", ".heifs", ".hif"})),
    "jxl": Needed("pillow_jxl", frozenset({".jxl"})),
}
#: Suffixes of the files that are listed in folders. A single file may have any name.
SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".avifs"),
    *(suffix for needed in NEED_EXTRAS.values() for suffix in needed.suffixes),
    *(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".tif", ".tiff", ".gif", ".bmp", ".dib"),
    *(".pbm", ".pgm", ".ppm", ".pnm", ".pfm", ".qoi", ".psd", ".gbr", ".ico", ".cur", ".icns"),
    *(".tga", ".icb", ".vda", ".vst", ".dds", ".blp", ".ftc", ".ftu", ".fits", ".fli", ".flc"),
    *(".sgi", ".bw", ".rgb", ".rgba", ".ras", ".pcd", ".pcx", ".dcx", ".msp", ".pxr"),
    *(".xbm", ".xpm"),
}


def list_images(folder: Path) -> list[Path]:
    """List the image files in a folder and its subfolders, by their suffixes, sorted by path.

    Hidden files and folders are left out. Broken links are in the list: reading one raises an error
    that the caller can report.

    Raises BadInputError if `folder` does not exist, cannot be read, is not a folder, or has no
    images in it.
    """
    try:
        folder.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadInputError(f"{folder}: it does not exist") from error
    except OSError as error:
        raise BadInputError(f"{folder}: cannot be read: {error.strerror}") from error
    if not folder.is_dir():
        raise BadInputError(f"{folder}: not a folder of images")
    paths = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not path.is_dir()
    ]
    if not paths:
        raise BadInputError(f"{folder}: there are no images in it (.jpg, .png, .tif, .heic, …)")
    return paths
