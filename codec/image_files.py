"""Finding image files in folders."""

from __future__ import annotations

from pathlib import Path

from .errors import BadInputError

#: Suffixes of the files that are listed in folders. A single file may have any name.
SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".avifs"),
    *(".heic", ".heics", ".heif", ".heifs", ".hif", ".jxl"),  # by extras
    *(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".tif", ".tiff", ".gif", ".bmp", ".dib"),
    *(".pbm", ".pgm", ".ppm", ".pnm", ".pfm", ".qoi", ".psd", ".gbr", ".ico", ".cur", ".icns"),
    *(".tga", ".icb", ".vda", ".vst", ".dds", ".blp", ".ftc", ".ftu", ".fits", ".fli", ".flc"),
    *(".sgi", ".bw", ".rgb", ".rgba", ".ras", ".pcd", ".pcx", ".dcx", ".msp", ".pxr"),
    *(".xbm", ".xpm"),
}


def list_images(folder: Path) -> list[Path]:
    """Files below a folder that have an image's suffix, sorted by path, except hidden ones.

    Broken links are in the list: reading one gives an error that the caller can report.

    Raises BadInputError when it is not a folder or has no images.
    """
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
        raise BadInputError(f"{folder}: no images in it, such as .jpg, .png, .tif or .heic")
    return paths
