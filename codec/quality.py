"""Checks the quality to encode with, and chooses the default quality."""

from __future__ import annotations

from numbers import Real

from ticodec.errors import UsageError
from ticodec.extras import check_extra
from ticodec.targets import Quality, Target
from ticodec.weights import Entry

#: The default quality, if the weights have it.
USUAL = 4.0


def check_quality(entry: Entry, quality: Quality) -> None:
    """Check that these weights can encode with a quality or for a target, before any work is done.

    Raises UsageError if they cannot, or if a package is missing that the target's measure needs.
    """
    if not isinstance(quality, Target):
        checked_quality(entry, quality)
    elif entry.qualities is None:
        raise UsageError(f"{entry.name} has one fixed quality, so it cannot aim at {quality}")
    elif quality.measure == "ms-ssim":
        check_extra("evaluate", "MS-SSIM", "pytorch_msssim")


def checked_quality(entry: Entry, quality: float | None) -> float | None:
    """Return the quality to encode with: `quality`, or the default one if it is None.

    Returns None for weights of one fixed λ.

    Raises UsageError if these weights do not have the quality.
    """
    if quality is not None and (isinstance(quality, bool) or not isinstance(quality, Real)):
        raise UsageError(f"quality must be a number or a `Target`, not {type(quality).__name__}")
    if entry.qualities is None:
        if quality is not None:
            raise UsageError(f"{entry.name} has one fixed quality; leave `quality` out")
        return None
    low, high = entry.qualities
    if quality is None:
        return min(max(USUAL, low), high)
    if not low <= quality <= high:
        raise UsageError(f"quality must be from {low:g} to {high:g}, not {quality:g}")
    return quality
