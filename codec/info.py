"""What a `.tic` file says of itself, without a network and without torch."""

from __future__ import annotations

from typing import Any

from . import container as tic


def info(data: bytes, max_pixels: int = tic.MAX_PIXELS) -> dict[str, Any]:
    """Facts of a `.tic` file, all its checksums checked.

    Returns: format_version, model, weights (fingerprint, hexadecimal), quality (1 … 8,
    None for a model of one fixed λ), width, height, mode ("RGB" or "L"), bytes, bpp
    (bits a pixel, everything counted), sections (list of type and payload bytes).

    Raises BadInputError when the data is no sound `.tic` file.
    """
    parsed = tic.read(data, max_pixels)
    header = parsed.header
    return {
        "format_version": tic.VERSION,
        "model": header.model_name,
        "weights": header.fingerprint.hex(),
        "quality": round(header.quality / tic.QUALITY_STEPS, 4) or None,
        "width": header.width,
        "height": header.height,
        "mode": tic.MODES[header.mode],
        "bytes": len(data),
        "bpp": round(8 * len(data) / (header.width * header.height), 4),
        "sections": [
            {"type": tic.SECTIONS.get(kind, str(kind)), "bytes": len(payload)}
            for kind, payload in parsed.sections.items()
        ],
    }
