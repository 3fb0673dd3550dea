"""What to encode for: a size, bits per pixel, PSNR or MS-SSIM, instead of a quality."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Measure = Literal["size", "bpp", "psnr", "ms-ssim"]


@dataclass(frozen=True)
class Target:
    """What a `.tic` file is to reach; the encoder looks for the quality that does.

    Args:
        measure: "size", of the whole file; "bpp", its bits per pixel; "psnr" or "ms-ssim", of the
            picture that it decodes to.
        value: in bytes, bits per pixel, or dB. MS-SSIM is -10·log10(1 - MS-SSIM) dB.
    """

    measure: Measure
    value: float
