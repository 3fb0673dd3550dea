"""Finds the images on which a model is furthest behind AVIF, and the worst place in each of them.

The model codes every image at several qualities. AVIF codes it to the same number of bytes, or to
the nearest lower number that AVIF can reach. The script ranks images by the PSNR of AVIF minus the
PSNR of the model, at equal bytes (interpolated), as a mean over the qualities.

For each of the worst images it writes a picture with one row per quality. A row shows the original,
the model and AVIF, at the place where the error of the model exceeds the error of AVIF the most.

    python docs/tools/worst.py FOLDER [--held-out] [-m tic-plus] [-q 1,3,6,8] [--out worst]

Measurements and files stay in `--out`. Files that are already there are not coded again.
"""

from __future__ import annotations

import argparse
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, log
from pathlib import Path
from statistics import fmean

import numpy as np
from demo import beside
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table

from ticodec import weights
from ticodec.evaluation.measure import Evaluation, Source, load, pixels_of, ready
from ticodec.evaluation.measurements import Measurement, Store
from ticodec.evaluation.registry import CoderSpec, make
from ticodec.image_files import list_images
from ticodec.ms_ssim import decibel
from ticodec.picture import Pixels
from ticodec.training.data.photos import split

#: The side of a crop in pixels, and the factor by which it is enlarged.
SIDE, ZOOM = 96, 2
#: The height of a caption, in pixels.
CAPTION = 18


@dataclass
class Pair:
    """The measurements of one image at one quality of the model.

    The sizes of `avif` and `above` are 5 to 10 % apart. So AVIF at the model's size is computed by
    linear interpolation between them, over the logarithm of bytes.

    Args:
        ours: the model's file.
        avif: the largest AVIF file that is not larger than the model's. The picture shows it.
        above: the next larger AVIF file.
    """

    ours: Measurement
    avif: Measurement
    above: Measurement

    @property
    def behind(self) -> float:
        """How far the model is behind AVIF in PSNR, in dB."""
        return self._behind(_psnr)

    @property
    def similar(self) -> float:
        """How far the model is behind AVIF in MS-SSIM, in dB."""
        return self._behind(lambda row: decibel(row.ms_ssim or 0))  # None if the image is small

    def _behind(self, metric: Callable[[Measurement], float]) -> float:
        low, high = metric(self.avif), metric(self.above)
        if self.avif.bytes < self.ours.bytes < self.above.bytes:
            ours, *ends = (log(row.bytes) for row in (self.ours, self.avif, self.above))
            low += (high - low) * (ours - ends[0]) / (ends[1] - ends[0])
        return low - metric(self.ours)


def _psnr(row: Measurement) -> float:
    return inf if row.psnr is None else row.psnr


def behind(pairs: list[Pair]) -> float:
    """How far the model is behind on an image in PSNR, in dB, as a mean over the qualities."""
    return fmean(pair.behind for pair in pairs)


def measured(run: Evaluation, source: Source) -> list[Pair]:
    """The measurements of an image. Measurements that are already stored are not made again."""
    ours, avif = run.specs
    settings, pairs = run.coders[1].settings, []

    def coded(setting: float) -> Measurement:
        return run.add(avif, source, setting)

    for quality in run.coders[0].ladder:
        row = run.add(ours, source, quality)
        at = bisect_right(settings, row.bytes, key=lambda setting: coded(setting).bytes)
        at = min(max(at, 1), len(settings) - 1)
        pairs.append(Pair(row, coded(settings[at - 1]), coded(settings[at])))
    return pairs


def decoded(run: Evaluation, source: Source, row: Measurement) -> Pixels:
    """The pixels (H, W, 3) uint8 of a measured file."""
    spec = next(spec for spec in run.specs if spec.name == row.coder)
    return ready(spec).decode(run.path(source, make(spec), row.setting).read_bytes())


def worst_place(original: Pixels, ours: Pixels, avif: Pixels) -> tuple[int, int]:
    """The crop in which the model's squared error exceeds AVIF's the most, as (top, left)."""

    def error(pixels: Pixels) -> NDArray[np.float64]:
        return np.square(pixels.astype(float) - original).sum(2)  # (H, W)

    sums = np.pad((error(ours) - error(avif)).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    side = [min(SIDE, length) for length in original.shape[:2]]
    down, across = sums[side[0] :] - sums[: -side[0]], side[1]
    crops = down[:, across:] - down[:, :-across]  # (H - side + 1, W - side + 1)
    top, left = np.unravel_index(crops.argmax(), crops.shape)
    return int(top), int(left)


def panel(pixels: Pixels, place: tuple[int, int], caption: str) -> Image.Image:
    """The crop at a place (top, left), enlarged, with a caption below it."""
    top, left = place
    crop = Image.fromarray(pixels[top : top + SIDE, left : left + SIDE])
    crop = crop.resize((crop.width * ZOOM, crop.height * ZOOM), Image.Resampling.BICUBIC)
    out = Image.new("RGB", (crop.width, crop.height + CAPTION), "white")
    out.paste(crop)
    draw, font = ImageDraw.Draw(out), ImageFont.load_default(11)
    draw.text((2, crop.height + 1), caption, "#222222", font)
    return out


def picture(run: Evaluation, source: Source, pairs: list[Pair]) -> Image.Image:
    """A picture with one row per quality: original, model and AVIF at the worst place."""
    original, rows = pixels_of(source), []
    for pair in pairs:
        versions = [decoded(run, source, row) for row in (pair.ours, pair.avif)]
        place = worst_place(original, *versions)
        panels = [panel(original, place, f"{source.path.stem}, x {place[1]}, y {place[0]}")]
        for row, pixels in zip((pair.ours, pair.avif), versions, strict=True):
            caption = f"{row.coder} {row.setting:g}: {row.bytes:,} bytes, {_psnr(row):.2f} dB"
            panels.append(panel(pixels, place, caption))
        rows.append(beside(*panels))
    out = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)), "white")
    for number, row in enumerate(rows):
        out.paste(row, (0, number * row.height))
    return out


def ranking(ranked: list[tuple[Source, list[Pair]]]) -> Table:
    """A table with one row per image, the worst first.

    Each cell has how far the model is behind AVIF at a quality, in dB of PSNR and of MS-SSIM.
    """
    names = [f"{pair.ours.coder} {pair.ours.setting:g}" for pair in ranked[0][1]]
    table = Table(title="PSNR / MS-SSIM of AVIF minus those of the model at equal bytes, dB")
    table.add_column("image", no_wrap=True)
    for name in ("mean", *names):
        table.add_column(name, justify="right")
    for source, pairs in ranked:
        cells = []
        for pair in pairs:
            cells.append(f"{pair.behind:+.2f} / {pair.similar:+.2f}")
        table.add_row(source.path.stem, f"{behind(pairs):+.2f}", *cells)
    return table


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("folder", type=Path, help="folder of images")
    options.add_argument("--held-out", action="store_true", help="only every 50th image, by name")
    options.add_argument("-m", "--model", help="name of installed weights")
    options.add_argument("-q", "--quality", default="1,3,6,8", help="separated by commas")
    options.add_argument("--count", type=int, default=3, help="how many pictures to write")
    options.add_argument("--out", type=Path, default=Path("worst"), metavar="FOLDER")
    return options


def main(words: list[str] | None = None) -> None:
    """Measure and rank the images, and write pictures of the worst ones."""
    a = parser().parse_args(words)
    qualities = tuple(float(word) for word in a.quality.split(","))
    ours = CoderSpec(weights.find(a.model).name, ours=True, qualities=qualities)
    specs = [ours, CoderSpec("avif")]
    paths = list_images(a.folder)
    sources = [load(path)[0] for path in (split(paths)[1] if a.held_out else paths)]
    run = Evaluation(sources, specs, [ready(spec) for spec in specs], Store(a.out))
    ranked = []
    for source in sources:
        ranked.append((source, measured(run, source)))
        print(f"{source.path.stem}: {behind(ranked[-1][1]):+.2f} dB", flush=True)
    ranked.sort(key=lambda item: behind(item[1]), reverse=True)
    Console(width=30 + 20 * len(qualities)).print(ranking(ranked))
    for source, pairs in ranked[: a.count]:
        path = a.out / f"{source.path.stem}.jpg"
        picture(run, source, pairs).save(path, quality=85, subsampling=0, optimize=True)
        print(path)


if __name__ == "__main__":
    main()
