"""Formats that Pillow brings, as peers: JPEG, WebP, AVIF, JPEG 2000."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import PIL
from PIL import Image, features

from ticodec.errors import UsageError
from ticodec.evaluation.coder import Coder
from ticodec.picture import Pixels

#: What `PIL.features` calls its libraries, and what the world does.
LIBRARIES = {"jpg": "libjpeg", "webp": "libwebp", "avif": "libavif", "jpg_2000": "OpenJPEG"}


class Pillow(Coder):
    """A format of Pillow's, with Pillow's default options (what most programs write).

    Args:
        name: ours for it; format: Pillow's; suffix, mime: of its files.
        library: as `PIL.features` names what does the work.
        settings, ladder: of `knob`, which `options` turns into arguments of `Image.save`.
        special: what is not Pillow's default, in words.
    """

    def __init__(
        self,
        name: str,
        format: str,
        suffix: str,
        mime: str,
        feature: str,
        settings: tuple[float, ...],
        ladder: tuple[float, ...],
        knob: str = "quality",
        options: Callable[[float, Pixels], dict[str, Any]] = lambda q, _: {"quality": int(q)},
        special: str = "",
    ) -> None:
        self.name, self.format, self.suffix, self.mime = name, format, suffix, mime
        self.feature, self.settings, self.ladder = feature, settings, ladder
        self.knob, self.options = knob, options
        version = f"{LIBRARIES[feature]} {features.version(feature)}"
        self.version = f"Pillow {PIL.__version__}, {version}{special}"

    def prepare(self) -> None:
        """Raises UsageError when this Pillow was built without the format."""
        if not features.check(self.feature):
            raise UsageError(f"{self.name}: this Pillow was built without {self.feature}")
        super().prepare()

    def encode(self, pixels: Pixels, setting: float) -> bytes:
        """`Image.save` at a setting."""
        out = BytesIO()
        Image.fromarray(pixels).save(out, self.format, **self.options(setting, pixels))
        return out.getvalue()

    def decode(self, data: bytes) -> Pixels:
        """`Image.open`, as RGB."""
        return np.array(Image.open(BytesIO(data), formats=[self.format]).convert("RGB"))


def _jpeg2000_options(bpp: float, pixels: Pixels) -> dict[str, Any]:
    """Rate control by ratio; the lossy transforms, which are not Pillow's default."""
    levels = min(pixels.shape[:2]).bit_length()
    return {
        "quality_mode": "rates",
        "quality_layers": [24 / bpp],
        "irreversible": True,
        "mct": 1,
        "num_resolutions": min(6, levels),
    }


def _percent(low: int, high: int) -> tuple[float, ...]:
    return tuple(float(q) for q in range(low, high + 1))


def jpeg() -> Coder:
    ladder = (5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0)
    kind = ("JPEG", ".jpg", "image/jpeg", "jpg")
    return Pillow("jpeg", *kind, _percent(1, 100), ladder)


def webp() -> Coder:
    ladder = (1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0)
    kind = ("WEBP", ".webp", "image/webp", "webp")
    return Pillow("webp", *kind, _percent(0, 100), ladder)


def _avif_options(quality: float, pixels: Pixels) -> dict[str, Any]:
    return {"quality": int(quality), "max_threads": 1}


def avif() -> Coder:
    ladder = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0)
    kind = ("AVIF", ".avif", "image/avif", "avif")
    special = ", one thread"  # its bytes depend on how many it has
    return Pillow("avif", *kind, _percent(0, 99), ladder, "quality", _avif_options, special)


LOSSY = ", lossy wavelet and colour transforms"


def jpeg2000() -> Coder:
    ladder = (0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.4, 2.0, 3.0)
    settings = tuple(sorted({*ladder, *np.geomspace(0.01, 16, 512).tolist()}))
    kind = ("JPEG2000", ".jp2", "", "jpg_2000")
    return Pillow("jpeg2000", *kind, settings, ladder, "bpp", _jpeg2000_options, LOSSY)
