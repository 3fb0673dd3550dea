"""Encodes a picture for a target. g_a runs once. Then a search finds the quality for the target.

features ─► guess ─► quality ─► y, z ─► streams ─► bytes, bits per pixel ─┐
               ▲                           └─► ŷ ─► g_s ─► PSNR, MS-SSIM ─┤
               └──────────────────────── search ◄─────────────────────────┘
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from . import memory, ms_ssim, refinement, sections
from .container import QUALITY_STEPS, Container
from .entropy.coder import Coded, Symbols
from .errors import TicodecError, UsageError
from .packing import packed
from .picture import Picture
from .progress import Progress, ignored, part
from .psnr import psnr
from .rate_guess import Guess
from .rate_search import Aim, Curve, Found, search
from .targets import Target

if TYPE_CHECKING:
    from .codec import Codec

#: The most refinements for one file. Each takes as long as all other work, or longer.
REFINEMENTS = 3
#: The share of the progress that comes before the refinements.
FAST = 0.1
#: The highest MS-SSIM, in dB, that the search uses. Equal pictures have an infinite MS-SSIM.
SAME = 100.0
#: Coded latents without any bytes, to measure the rest of a file.
EMPTY = Coded(b"", b"", Symbols(memoryview(b""), memoryview(b"")))

#: Makes y (h, w, M) and z (h/n, w/n, N) for a stored quality, and reports its progress.
Latents = Callable[[int, Progress], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Reached:
    """A file that was made for a target.

    Args:
        container: the file.
        target: what was asked for.
        value: what the file reaches, in the target's units.
        trials: how many files were made to find this one, including it.
        at_end: whether no quality reaches the target. Then the file has the lowest or the highest
            quality.
        out_of_reach: whether the file is larger, or looks worse, than the target allows.
    """

    container: Container
    target: Target
    value: float
    trials: int
    at_end: bool
    out_of_reach: bool


@dataclass(frozen=True)
class Trial:
    """A file that was made with one quality, on the way to a target.

    Args:
        stored: the stored quality.
        value: the number that the search compares, see `Trials.value`.
        reached: what the file reaches, in the target's units.
        container: the file.
    """

    stored: int
    value: float
    reached: float
    container: Container


def reach(
    codec: Codec,
    picture: Picture,
    target: Target,
    effort: int,
    progress: Progress | None = None,
) -> Reached:
    """Encode a picture so that its file reaches a target.

    If even the highest quality gives a smaller file than a size or bits per pixel allow, the file
    of the highest quality is returned. If even the lowest quality looks better than a PSNR or
    MS-SSIM asks for, the file of the lowest quality is returned.

    Args:
        codec: its weights have more than one quality.
        picture: it was checked, and its size fits into the available memory.
        effort: 1 … 9.
        progress: called from time to time with the share that is done, 0 … 1.

    Raises:
        TicodecError: the target is out of reach and `target.nearest` is false, or there is not
            enough memory to measure MS-SSIM.
        UsageError: the picture is too small for MS-SSIM.
    """
    if target.measure == "ms-ssim":
        _check_similarity(*picture.pixels.shape[:2])
    shares = Shares(part(progress, 0, 1 if effort == 1 else FAST))
    features = codec.features(picture.pixels, shares.next())
    trials = Trials(
        codec, picture, target, shares, lambda stored, _: codec.scaled(features, stored)
    )
    curve = trials.curve(Guess(codec, features))
    found = search(trials.aim, curve, trials)
    count = found.trials
    shares.end()
    if effort > 1:
        shares = Shares(part(progress, FAST, 1))
        trials = Trials(
            codec,
            picture,
            target,
            shares,
            lambda stored, report: refinement.refined(
                codec, picture.pixels, features, stored, effort, report
            ),
        )
        refined = search(trials.aim, curve.through(found.best), trials, REFINEMENTS)
        count += refined.trials
        shares.end()
        # If no refined file keeps the limit, the best one without refinement may keep it.
        if trials.aim.on_side(refined.best.value) or not trials.aim.on_side(found.best.value):
            found = refined
    best = found.best
    missed = not trials.aim.on_side(best.value)
    if missed and not target.nearest:
        raise TicodecError(_out_of_reach(target, found, trials.besides))
    return Reached(best.container, target, best.reached, count, found.end != 0, missed)


def _check_similarity(height: int, width: int) -> None:
    """Raises UsageError if a picture is too small for MS-SSIM, TicodecError if it is too large."""
    if min(height, width) < ms_ssim.SMALLEST:
        raise UsageError(
            f"MS-SSIM needs {ms_ssim.SMALLEST} pixels each way, but the image has "
            f"{width}×{height}; ask for a PSNR"
        )
    need, have = ms_ssim.MEMORY * height * width, memory.available()
    if have is not None and need > have:
        raise TicodecError(
            f"MS-SSIM of {width}×{height} pixels needs about {need / 2**30:.2f} GiB of memory, "
            f"but only {have / 2**30:.2f} GiB are free; ask for a PSNR"
        )


def _out_of_reach(target: Target, found: Found[Trial], besides: int) -> str:
    """The message for a target that no quality reaches.

    Args:
        besides: how many bytes of the file are not latents.
    """
    best, ending = found.best, "smallest" if target.of_file else "largest"
    metadata = ""
    if target.of_file and besides > best.container.size / 2:
        metadata = f"; {besides:,} bytes of it are metadata, which `strip` leaves out"
    return (
        f"{target} cannot be reached; the {ending} file has {target.said(best.reached)} "
        f"(quality {best.stored / QUALITY_STEPS:g}){metadata}; give `nearest` to take that file"
    )


class Trials:
    """Encodes one picture with several qualities. Call it with a stored quality to get a `Trial`.

    Args:
        shares: the progress. Each file takes one share.
        latents: makes y and z for a stored quality, as `Codec.scaled` does.
    """

    def __init__(
        self, codec: Codec, picture: Picture, target: Target, shares: Shares, latents: Latents
    ) -> None:
        self.codec, self.picture, self.target = codec, picture, target
        self.shares, self.latents = shares, latents
        self.optional = sections.payloads(picture)
        self.pixels = picture.pixels.shape[0] * picture.pixels.shape[1]
        #: How many bytes of the file are not in its streams.
        self.besides = packed(codec, picture, EMPTY, QUALITY_STEPS, self.optional).size
        least, most = map(self.value, target.accepted)
        self.aim = Aim(least, most, at_most=target.of_file)

    def __call__(self, stored: int) -> Trial:
        report = self.shares.next()
        # The latents of a large picture take much memory. Only ŷ is still there when g_s runs.
        coded, y_hat = self.codec.entropy.encode_known(*self.latents(stored, part(report, 0, 0.5)))
        container = packed(self.codec, self.picture, coded, stored, self.optional)
        reached = self.reached(container, y_hat, part(report, 0.5, 1))
        report(1)
        return Trial(stored, self.value(reached), reached, container)

    def reached(self, container: Container, y_hat: Tensor, progress: Progress) -> float:
        """Measure a file, in the target's units."""
        if self.target.measure == "size":
            return container.size
        if self.target.measure == "bpp":
            return 8 * container.size / self.pixels
        decoded = self.codec.picture(replace(container, sections={}), y_hat, progress=progress)
        if self.target.measure == "psnr":
            return psnr(self.picture.pixels, decoded.pixels)
        similarity = ms_ssim.ms_ssim(self.picture.pixels, decoded.pixels)
        assert similarity is not None
        return ms_ssim.decibel(similarity)

    def value(self, reached: float) -> float:
        """Convert a measured number to the one that the search compares.

        That number rises with the quality, nearly in a straight line. For sizes and bits per pixel
        it is the logarithm of the bytes of both streams. For PSNR it is the mean squared error of
        pixels, 0 … 255, with a minus sign. For MS-SSIM it is in dB.

        Args:
            reached: the measured number, in the target's units.
        """
        if self.target.measure == "psnr":
            return -(10 ** (-reached / 10)) * 255**2
        if self.target.measure == "ms-ssim":
            return min(reached, SAME)
        size = reached if self.target.measure == "size" else reached * self.pixels / 8
        return math.log(max(size - self.besides, 1))

    @torch.inference_mode()
    def curve(self, guess: Guess) -> Curve:
        """Guess `value` for all qualities."""
        if self.target.of_file:
            return guess.streams(self.pixels)
        if self.target.measure == "ms-ssim":
            return guess.similarity(self.picture.pixels)
        curve = guess.error()
        stored = curve.quality(self.aim.middle)
        y, z = self.latents(stored, ignored)
        _, y_hat = self.codec.entropy.encode_known(y, z)
        squared = float(y_hat.sub_(y).square_().sum())
        return guess.error(stored, squared / (y.shape[0] * y.shape[1]))


class Shares:
    """The progress of work of unknown length. Each part counts as half of the remaining work."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress, self.done = progress, 0.0

    def next(self) -> Progress:
        """Make the function to which the next part reports its own share, 0 … 1."""
        start, self.done = self.done, (1 + self.done) / 2
        return part(self.progress, start, self.done)

    def end(self) -> None:
        """Report that all work is done."""
        part(self.progress, 0, 1)(1)
