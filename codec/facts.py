"""Facts about a `.tic` file, without a network and without torch."""

from __future__ import annotations

from typing import Any

from . import container as tic
from . import sections
from .inputs import FileLike, as_container


def info(data: FileLike | tic.Container, *, max_pixels: int = tic.MAX_PIXELS) -> dict[str, Any]:
    """Facts about a `.tic` file, after checking all its checksums.

    Args:
        data: a path, anything bytes-like, an open binary file, or a file that is parsed already.
        max_pixels: larger images are refused.

    Returns: format_version, model, weights (fingerprint, hexadecimal), quality (1 … 8,
    None for a model of one fixed λ), width, height, mode ("RGB" or "L"), bytes, bpp
    (bits per pixel of the whole file), sections (list of type and payload bytes).

    Raises BadInputError when the data is not an intact `.tic` file.
    """
    parsed = as_container(data, max_pixels)
    header, size = parsed.header, parsed.size
    return {
        "format_version": tic.VERSION,
        "model": header.model_name,
        "weights": header.fingerprint.hex(),
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
