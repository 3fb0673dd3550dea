"""Peers that Pillow writes: JPEG, WebP, AVIF, JPEG 2000."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import PIL
from PIL import Image, features

from ticodec.errors import UsageError
from ticodec.evaluation.coder import Coder
from ticodec.picture import Pixels

#: The names of libraries, by the names that `PIL.features` gives them.
LIBRARIES = {"jpg": "libjpeg", "webp": "libwebp", "avif": "libavif", "jpg_2000": "OpenJPEG"}


class PillowCoder(Coder):
    """A format of Pillow's, with Pillow's default options (what most programs write).

    Attributes:
        format: Pillow's name of the format.
        feature: name of its library in `PIL.features`.
        special: how its options differ from Pillow's defaults. `version` ends with this text.
    """

    format: str
    feature: str
    special: str = ""

    def __init__(self) -> None:
        library = f"{LIBRARIES[self.feature]} {features.version(self.feature)}"
        self.version = f"Pillow {PIL.__version__}, {library}{self.special}"

    def options(self, setting: float, pixels: Pixels) -> dict[str, Any]:
        """Arguments of `Image.save` for a setting and (H, W, 3) pixels."""
        return {"quality": int(setting)}

    def prepare(self) -> None:
        """Raises UsageError when this Pillow was built without the format."""
        if not features.check(self.feature):
            raise UsageError(f"{self.name}: this Pillow was built without {self.feature}")
        super().prepare()

    def encode(self, pixels: Pixels, setting: float) -> bytes:
        """Encode with `Image.save` and `options`."""
        out = BytesIO()
        Image.fromarray(pixels).save(out, self.format, **self.options(setting, pixels))
        return out.getvalue()

    def decode(self, data: bytes) -> Pixels:
        """Decode with `Image.open`, to RGB."""
        return np.array(Image.open(BytesIO(data), formats=[self.format]).convert("RGB"))


class Jpeg(PillowCoder):
    """JPEG, 4:2:0."""

    name, suffix, mime = "jpeg", ".jpg", "image/jpeg"
    format, feature = "JPEG", "jpg"
    settings = tuple(float(q) for q in range(1, 101))
    ladder = (5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0)


class WebP(PillowCoder):
    """Lossy WebP."""

    name, suffix, mime = "webp", ".webp", "image/webp"
    format, feature = "WEBP", "webp"
    settings = tuple(float(q) for q in range(101))
    ladder = (1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0)


class Avif(PillowCoder):
    """AVIF with one thread, because its bytes depend on the number of threads."""

    name, suffix, mime = "avif", ".avif", "image/avif"
    format, feature = "AVIF", "avif"
    special = ", one thread"
    settings = tuple(float(q) for q in range(100))
    ladder = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0)

    def options(self, setting: float, pixels: Pixels) -> dict[str, Any]:
        """The quality, and one thread."""
        return {"quality": int(setting), "max_threads": 1}


class Jpeg2000(PillowCoder):
    """JPEG 2000 with its lossy transforms, which are not Pillow's default."""

    name, suffix, knob = "jpeg2000", ".jp2", "bpp"
    format, feature = "JPEG2000", "jpg_2000"
    special = ", lossy wavelet and colour transforms"
    ladder = (0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.4, 2.0, 3.0)
    settings = tuple(sorted({*ladder, *np.geomspace(0.01, 16, 512).tolist()}))

    def options(self, setting: float, pixels: Pixels) -> dict[str, Any]:
        """Rate control by ratio, and as many wavelet levels as fit into the image, at most 5."""
        levels = min(pixels.shape[:2]).bit_length()
        return {
            "quality_mode": "rates",
            "quality_layers": [24 / setting],
            "irreversible": True,
            "mct": 1,
            "num_resolutions": min(6, levels),
        }
