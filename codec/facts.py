"""Facts about a `.tic` file. Imports no torch, and runs no network."""

from __future__ import annotations

from typing import Any

from . import container as tic
from . import sections, weights
from .errors import TicodecError
from .inputs import FileLike, as_container


def info(data: FileLike | tic.Container, *, max_pixels: int = tic.MAX_PIXELS) -> dict[str, Any]:
    """Read the facts about a `.tic` file, and check all its checksums.

    Args:
        data: a path, anything bytes-like, a file object in binary mode, or a parsed file.
        max_pixels: images with more pixels are refused.

    Returns:
        A dict with format_version, model, weights (their fingerprint, in hexadecimal), weights_name
        (the name of these weights, or None if they are not installed), quality (1 … 8, or None for
        a model of one fixed λ), width, height, mode ("RGB" or "L"), bytes, bpp (bits per pixel of
        the whole file), and sections (a list with the type of each section, and the bytes of its
        payload).

    Raises BadInputError if the data is not an intact `.tic` file.
    """
    parsed = as_container(data, max_pixels)
    header, size = parsed.header, parsed.size
    return {
        "format_version": tic.VERSION,
        "model": header.model_name,
        "weights": header.fingerprint.hex(),
        "weights_name": _name_of(header),
        "quality": round(header.quality / tic.QUALITY_STEPS, 4) or None,
        "width": header.width,
        "height": header.height,
        "mode": tic.MODES[header.mode],
        "bytes": size,
        "bpp": round(8 * size / (header.width * header.height), 4),
        "sections": [
            {"type": sections.name_of(number), "bytes": len(payload)}
            for number, payload in parsed.sections.items()
        ],
    }


def _name_of(header: tic.Header) -> str | None:
    """The name of the weights that wrote a file, or None if they are not installed."""
    try:
        return weights.of(header).name
    except TicodecError:  # not installed, or a manifest is damaged
        return None
