"""JPEG XL with the package pillow-jxl-plugin, an extra, because Pillow cannot read it alone."""

from __future__ import annotations

from importlib.metadata import version
from io import BytesIO

import numpy as np
from PIL import Image

from ticodec.evaluation.coder import Coder
from ticodec.extras import of_extra
from ticodec.picture import Pixels


class JpegXl(Coder):
    """libjxl at its default effort, 7.

    Raises UsageError when the package is not installed.
    """

    name = "jpegxl"
    suffix = ".jxl"
    settings = tuple(float(q) for q in range(1, 100))
    ladder = (5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0)

    def __init__(self) -> None:
        with of_extra("jxl", "jpegxl"):
            import pillow_jxl  # noqa: F401  registers the format with Pillow

        self.version = f"pillow-jxl-plugin {version('pillow-jxl-plugin')}"

    def encode(self, pixels: Pixels, setting: float) -> bytes:
        """Encode with `Image.save`. The setting is the quality."""
        out = BytesIO()
        Image.fromarray(pixels).save(out, "JXL", quality=int(setting), lossless=False)
        return out.getvalue()

    def decode(self, data: bytes) -> Pixels:
        """Decode with `Image.open`, to RGB."""
        return np.array(Image.open(BytesIO(data), formats=["JXL"]).convert("RGB"))
