"""A file for a target: g_a runs once, then a search finds the quality that reaches the target.

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

#: The most refinements for one file: each takes as long as all the rest, or longer.
REFINEMENTS = 3
#: The share of the progress that comes before the refinements.
FAST = 0.1
#: A larger MS-SSIM, in dB, counts as this one: it is infinite for pictures that are the same.
SAME = 100.0
#: What is coded in a file without streams.
EMPTY = Coded(b"", b"", Symbols(memoryview(b""), memoryview(b"")))

#: Gives y (h, w, M) and z (h/n, w/n, N) of a stored quality, and reports its progress.
Latents = Callable[[int, Progress], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Reached:
    """A file that was made for a target.

    Args:
        container: the file; target: what was asked for; value: what it reaches, in the target's
            units.
        trials: how many files were made to find it, this one included.
        at_end: no quality gives what was asked for; the file has the lowest or the highest one.
        out_of_reach: the file is larger, or looks worse, than was asked for.
    """

    container: Container
    target: Target
    value: float
    trials: int
    at_end: bool
    out_of_reach: bool


@dataclass(frozen=True)
class Trial:
    """A file of one quality.

    Args:
        stored: the stored quality; value: what the search compares, see `Trials.value`.
        reached: what the file reaches, in the target's units.
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
    """The file of a picture that reaches a target.

    If even the highest quality gives a smaller file than a size or bits per pixel allow, that is
    the file. If even the lowest one looks better than a PSNR or MS-SSIM asks for, that is.

    Args:
        codec: of weights that have more than one quality.
        picture: checked, and small enough for the memory that there is.
        effort: 1 … 9; progress: called with the share done, 0 … 1, now and then.

    Raises TicodecError when the target is out of reach, unless `target.nearest`, or when there is
    too little memory to measure MS-SSIM; UsageError when the picture is too small for MS-SSIM.
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
        # If no refined file keeps the limit, one that is not refined may.
        if trials.aim.on_side(refined.best.value) or not trials.aim.on_side(found.best.value):
            found = refined
    best = found.best
    missed = not trials.aim.on_side(best.value)
    if missed and not target.nearest:
        raise TicodecError(_out_of_reach(target, found, trials.besides))
    return Reached(best.container, target, best.reached, count, found.end != 0, missed)


def _check_similarity(height: int, width: int) -> None:
    """Raises UsageError when a picture is too small for MS-SSIM, TicodecError when too large."""
    if min(height, width) < ms_ssim.SMALLEST:
        raise UsageError(
            f"MS-SSIM needs {ms_ssim.SMALLEST} pixels each way, and the image has "
            f"{width}×{height}; ask for a PSNR"
        )
    need, have = ms_ssim.MEMORY * height * width, memory.available()
    if have is not None and need > have:
        raise TicodecError(
            f"MS-SSIM of {width}×{height} pixels needs about {need / 2**30:.2f} GiB of memory, "
            f"{have / 2**30:.2f} GiB are free; ask for a PSNR"
        )


def _out_of_reach(target: Target, found: Found[Trial], besides: int) -> str:
    """What to say of a target that no quality reaches. besides: bytes that are no latents."""
    best, ending = found.best, "smallest" if target.of_file else "largest"
    metadata = ""
    if target.of_file and besides > best.container.size / 2:
        metadata = f", {besides:,} bytes of it metadata, which `strip` leaves out"
    return (
        f"{target} cannot be reached; the {ending} file has {target.said(best.reached)} "
        f"(quality {best.stored / QUALITY_STEPS:g}){metadata}; give `nearest` to take that"
    )


class Trials:
    """Makes files of one picture and measures them. Called with a stored quality.

    Args:
        shares: the progress, one share a file.
        latents: gives y and z of a stored quality, as `Codec.scaled` does.
    """

    def __init__(
        self, codec: Codec, picture: Picture, target: Target, shares: Shares, latents: Latents
    ) -> None:
        self.codec, self.picture, self.target = codec, picture, target
        self.shares, self.latents = shares, latents
        self.optional = sections.payloads(picture)
        self.pixels = picture.pixels.shape[0] * picture.pixels.shape[1]
        #: Bytes of the file besides its streams.
        self.besides = packed(codec, picture, EMPTY, QUALITY_STEPS, self.optional).size
        least, most = map(self.value, target.accepted)
        self.aim = Aim(least, most, at_most=target.of_file)

    def __call__(self, stored: int) -> Trial:
        report = self.shares.next()
        # Latents of a large picture take much memory: none but ŷ are left when g_s runs.
        coded, y_hat = self.codec.entropy.encode_known(*self.latents(stored, part(report, 0, 0.5)))
        container = packed(self.codec, self.picture, coded, stored, self.optional)
        reached = self.reached(container, y_hat, part(report, 0.5, 1))
        report(1)
        return Trial(stored, self.value(reached), reached, container)

    def reached(self, container: Container, y_hat: Tensor, progress: Progress) -> float:
        """What a file reaches, in the target's units."""
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
        """What the search compares. It rises with the quality, nearly in a straight line.

        For sizes and bits per pixel the logarithm of the bytes of both streams, for PSNR the mean
        squared error of pixels, 0 … 255, with a minus sign, for MS-SSIM dB.

        Args:
            reached: in the target's units.
        """
        if self.target.measure == "psnr":
            return -(10 ** (-reached / 10)) * 255**2
        if self.target.measure == "ms-ssim":
            return min(reached, SAME)
        size = reached if self.target.measure == "size" else reached * self.pixels / 8
        return math.log(max(size - self.besides, 1))

    @torch.inference_mode()
    def curve(self, guess: Guess) -> Curve:
        """A guess of `value` for all qualities."""
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
    """The progress of work of unknown length: each part of it counts as half of what is left."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress, self.done = progress, 0.0

    def next(self) -> Progress:
        """What the next part calls with the share of it that is done, 0 … 1."""
        start, self.done = self.done, (1 + self.done) / 2
        return part(self.progress, start, self.done)

    def end(self) -> None:
        """All is done."""
        part(self.progress, 0, 1)(1)
