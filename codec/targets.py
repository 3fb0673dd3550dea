"""What to encode for: a size, bits per pixel, PSNR or MS-SSIM, instead of a quality.

Imports no torch.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from numbers import Real
from typing import Literal, get_args

from .errors import UsageError
from .sizes import bytes_in

Measure = Literal["size", "bpp", "psnr", "ms-ssim"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
#: A file may be this much smaller than the size that was asked for, as a share of it.
SIZE_TOLERANCE = 0.02
#: A picture may be this much better than what was asked for, in dB.
DB_TOLERANCE = 0.1


@dataclass(frozen=True)
class Target:
    """What a `.tic` file is to reach; the encoder looks for the quality that does.

    A size and bits per pixel are the most that a file may have: it has up to 2 % less. PSNR and
    MS-SSIM are the least that its picture may have: it has up to 0.1 dB more.

    Args:
        measure: "size", of the whole file; "bpp", its bits per pixel; "psnr" or "ms-ssim", of the
            picture that it decodes to.
        value: in bytes, bits per pixel, or dB. MS-SSIM is -10·log10(1 - MS-SSIM) dB.
        nearest: if no quality reaches it, make the file that comes nearest; otherwise encoding
            raises a TicodecError.

    Raises UsageError unless the measure is one of these and the value a positive, finite number.
    """

    measure: Measure
    value: float
    nearest: bool = False

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise UsageError(f"`measure` must be {', '.join(MEASURES)}, not {self.measure!r}")
        if isinstance(self.value, bool) or not isinstance(self.value, Real):
            raise UsageError(f"`value` must be a number, not {type(self.value).__name__}")
        try:
            value = float(self.value)
        except OverflowError:  # a whole number that no float can be
            value = math.inf
        if not 0 < value < math.inf:
            raise UsageError(f"`value` must be positive and finite, not {value:g}")
        if self.measure == "ms-ssim" and value <= 1:  # a ratio, surely
            raise UsageError(f"`value` of an MS-SSIM is in dB, such as 15 for 0.968, not {value:g}")
        object.__setattr__(self, "value", value)

    @property
    def of_file(self) -> bool:
        """Whether it is about the file; otherwise it is about the picture, which is decoded."""
        return self.measure in ("size", "bpp")

    @property
    def accepted(self) -> tuple[float, float]:
        """The least and the most that will do, in its units."""
        if self.of_file:
            return self.value * (1 - SIZE_TOLERANCE), self.value
        return self.value, self.value + DB_TOLERANCE

    def __str__(self) -> str:
        """As in messages: "200,000 bytes", "0.5 bpp", "35 dB PSNR", "15 dB MS-SSIM"."""
        return self._with_unit(
            f"{self.value:,.0f}" if self.measure == "size" else f"{self.value:g}"
        )

    def said(self, reached: float) -> str:
        """A value that a file reaches: "199,102 bytes", "0.498 bpp", "35.04 dB PSNR"."""
        digits = {"size": 0, "bpp": 3}.get(self.measure, 2)
        return self._with_unit(f"{reached:,.{digits}f}")

    def _with_unit(self, number: str) -> str:
        unit = {"size": "bytes", "bpp": "bpp"}.get(self.measure, f"dB {self.measure.upper()}")
        return f"{number} {unit}"


#: 1 (smallest) to 8 (best), or what the file is to reach; None: 4.
Quality = float | Target | None

#: What people write for each measure, as messages say it.
FORMS: dict[Measure, str] = {
    "size": "a size such as 200k, 1.5MB or 195KiB",
    "bpp": "bits per pixel, such as 0.5",
    "psnr": "dB, such as 35",
    "ms-ssim": "dB, such as 15dB, or a ratio below 1, such as 0.97",
}


def target_of(measure: Measure, text: str, name: str, nearest: bool = False) -> Target:
    """The target that a text means, as people write it: `FORMS` has examples. K is 1000 bytes.

    Args:
        name: what takes the text, for the message.
        nearest: as `Target` takes it.

    Raises UsageError for any other text.
    """
    value = None
    if measure == "size":
        value = bytes_in(f"{text}B" if text[-1:].isdigit() else text, letter=1000)
    else:
        unit = "bpp" if measure == "bpp" else "dB"
        found = re.fullmatch(rf"\s*([0-9]*\.?[0-9]+)\s*({unit})?\s*", text, re.IGNORECASE)
        if found is not None:
            value = float(found[1])
            if measure == "ms-ssim" and found[2] is None:
                value = _decibel_of(value)
    least = 1 if measure == "ms-ssim" else 0  # dB: less is no picture, and is meant as a ratio
    if value is None or not least < value < math.inf:
        raise UsageError(f"{name} takes {FORMS[measure]}, not {text!r}")
    return Target(measure, value, nearest)


def _decibel_of(number: float) -> float | None:
    """MS-SSIM in dB. Below 1 a number is a ratio, above 1 it is dB; 1 could be either: None."""
    if number < 1:
        from .ms_ssim import decibel  # imports NumPy and Pillow

        return decibel(number)
    return number if number > 1 else None
