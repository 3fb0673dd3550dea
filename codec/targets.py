"""Targets that a file can be encoded for instead of a quality: size, bits per pixel, PSNR, MS-SSIM.

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
#: By how much a file may be smaller than the size that was asked for, as a share of that size.
SIZE_TOLERANCE = 0.02
#: By how much a picture may be better than was asked for, in dB.
DB_TOLERANCE = 0.1


@dataclass(frozen=True)
class Target:
    """A goal for a `.tic` file. The encoder looks for the quality that reaches it.

    A size and bits per pixel are upper limits: the file is at most 2 % smaller. PSNR and MS-SSIM
    are lower limits: the decoded picture is at most 0.1 dB better.

    Args:
        measure: "size" of the whole file, "bpp" (bits per pixel of the whole file), "psnr" or
            "ms-ssim" of the decoded picture.
        value: in bytes, bits per pixel, or dB. MS-SSIM in dB is -10·log10(1 - MS-SSIM).
        nearest: if no quality reaches the target, make the file that comes nearest. If this is
            false, encoding raises a TicodecError in that case.

    Raises UsageError unless the measure is one of these and the value is a positive, finite number.
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
        except OverflowError:  # a whole number that is too large for a float
            value = math.inf
        if not 0 < value < math.inf:
            raise UsageError(f"`value` must be positive and finite, not {value:g}")
        if self.measure == "ms-ssim" and value <= 1:  # surely meant as a ratio
            text = f"must be in dB, such as 15 for 0.968, not {value:g}"
            raise UsageError(f"`value` of an MS-SSIM {text}")
        object.__setattr__(self, "value", value)

    @property
    def of_file(self) -> bool:
        """Whether the target is about the file. If not, it is about the decoded picture."""
        return self.measure in ("size", "bpp")

    @property
    def accepted(self) -> tuple[float, float]:
        """The lowest and the highest value that is accepted, in the target's units."""
        if self.of_file:
            return self.value * (1 - SIZE_TOLERANCE), self.value
        return self.value, self.value + DB_TOLERANCE

    def __str__(self) -> str:
        """The target in messages: "200,000 bytes", "0.5 bpp", "35 dB PSNR", "15 dB MS-SSIM"."""
        return self._with_unit(
            f"{self.value:,.0f}" if self.measure == "size" else f"{self.value:g}"
        )

    def said(self, reached: float) -> str:
        """Format a value that a file reaches: "199,102 bytes", "0.498 bpp", "35.04 dB PSNR"."""
        digits = {"size": 0, "bpp": 3}.get(self.measure, 2)
        return self._with_unit(f"{reached:,.{digits}f}")

    def _with_unit(self, number: str) -> str:
        unit = {"size": "bytes", "bpp": "bpp"}.get(self.measure, f"dB {self.measure.upper()}")
        return f"{number} {unit}"


#: 1 (smallest file) to 8 (best picture), or a target. None means 4.
Quality = float | Target | None

#: What the value of each measure looks like, for messages.
FORMS: dict[Measure, str] = {
    "size": "a size such as 200k, 1.5MB or 195KiB",
    "bpp": "bits per pixel, such as 0.5",
    "psnr": "dB, such as 35",
    "ms-ssim": "dB, such as 15dB, or a ratio below 1, such as 0.97",
}


def target_of(measure: Measure, text: str, name: str, nearest: bool = False) -> Target:
    """Read a target from a text, in one of the forms of `FORMS`. K means 1000 bytes.

    Args:
        name: what messages call the option.
        nearest: see `Target`.

    Raises UsageError for any other text.
    """
    value = None
    if measure == "size":
        _check_unit(text.strip(), name)
        value = bytes_in(f"{text}B" if text[-1:].isdigit() else text, letter=1000)
    else:
        unit = "bpp" if measure == "bpp" else "dB"
        found = re.fullmatch(rf"\s*([0-9]*\.?[0-9]+)\s*({unit})?\s*", text, re.IGNORECASE)
        if found is not None:
            value = float(found[1])
            if measure == "ms-ssim" and found[2] is None:
                value = _decibel_of(value)
    # With an MS-SSIM of 1 dB or less no picture can be recognised: the number is meant as a ratio.
    least = 1 if measure == "ms-ssim" else 0
    if value is None or not least < value < math.inf:
        raise UsageError(f"{name} takes {FORMS[measure]}, not {text!r}")
    return Target(measure, value, nearest)


def _check_unit(text: str, name: str) -> None:
    """Refuse a size below 1,000 without a unit: "50" usually means 50k. Raises UsageError."""
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) is None or not 0 < float(text) < 1000:
        return
    sizes = [text + unit for unit in ("kB" if text.isdigit() else "kM")]
    examples = [f"{size} is {bytes_in(size, letter=1000):,.0f} bytes" for size in sizes]
    raise UsageError(f"{name} {text}: write a unit: {', '.join(examples)}")


def _decibel_of(number: float) -> float | None:
    """Convert a number to MS-SSIM in dB. Below 1 it is a ratio, and above 1 it is dB already.

    Returns None for 1, which could be either.
    """
    if number < 1:
        from .ms_ssim import decibel  # imports NumPy and Pillow

        return decibel(number)
    return number if number > 1 else None
