"""Measures how close files come to their targets, and how long the search for them takes.

    python tests/benchmarks/bench_targets.py FOLDER [--model NAME] [--targets bpp=0.4,psnr=34]
        [--effort 1] [--count 24] [--commands 3]

Every photo of a folder, or the first `--count` photos, is encoded for every target. The result is
measured independently: the size of the file, and the PSNR or MS-SSIM of the decoded picture. Times
are ratios: the median with the target, divided by the median of the same photos at quality 4.
"time" is for encoding in one process. "command" is for the whole command, on the first `--commands`
photos.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple, cast

import ticodec
from ticodec.codec import Codec
from ticodec.container import Container
from ticodec.image_files import list_images
from ticodec.ms_ssim import decibel, ms_ssim
from ticodec.picture import Picture
from ticodec.psnr import psnr
from ticodec.rate_control import reach
from ticodec.targets import Measure, Target

TARGETS = "bpp=0.15,bpp=0.4,bpp=0.8,psnr=30,psnr=34,psnr=38,ms-ssim=12,ms-ssim=17"


class Row(NamedTuple):
    """The result for one photo.

    Attributes:
        value: what the file reaches, in the target's units.
        at_end: whether no quality reaches the target. The file has the lowest or highest quality.
        trials: how many files were made to find it.
        seconds: time of the search.
    """

    value: float
    at_end: bool
    trials: int
    seconds: float


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("folder", type=Path, help="folder of photos")
    options.add_argument("--model", help="default: the default model")
    options.add_argument("--targets", default=TARGETS, help="MEASURE=VALUE, separated by commas")
    options.add_argument("--effort", type=int, default=1)
    options.add_argument("--count", type=int, help="number of photos; default: all")
    options.add_argument("--commands", type=int, default=3, help="photos for whole commands")
    return options


def main(words: list[str] | None = None) -> None:
    """Measure, and print a Markdown table with one row per target."""
    arguments = parser().parse_args(words)
    paths = list_images(arguments.folder)[: arguments.count]
    codec = ticodec.load(arguments.model)
    pictures = [ticodec.read_picture(path) for path in paths]
    effort = arguments.effort
    print(f"{len(paths)} photos, model {codec.entry.name}, effort {effort}")
    print("| target | in reach | min | max | missed | files made | max | time | command |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for target in map(target_of, arguments.targets.split(",")):
        rows, plain = [], []
        for picture in pictures:
            plain.append(timed(lambda: codec.containers([picture], effort=effort))[1])  # noqa: B023
            rows.append(row_of(codec, picture, target, effort))
        options = ["--model", codec.entry.name, "--effort", effort, "--force"]
        looking = [*options, f"--target-{target.measure}", f"{target.value:g}"]
        pairs = [
            (command(path, *looking), command(path, *options))
            for path in paths[: arguments.commands]
        ]
        print_row(target, rows, median(row.seconds for row in rows) / median(plain), pairs)


def target_of(word: str) -> Target:
    """The target that a word such as "psnr=34" stands for."""
    measure, _, value = word.partition("=")
    return Target(cast("Measure", measure), float(value), nearest=True)


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """The result of a call, and its seconds."""
    started = time.perf_counter()
    return call(), time.perf_counter() - started


def row_of(codec: Codec, picture: Picture, target: Target, effort: int) -> Row:
    """Encode for a target, and measure the file."""
    found, seconds = timed(lambda: reach(codec, picture, target, effort))
    value = measured(codec, picture, target, found.container)
    return Row(value, found.at_end, found.trials, seconds)


def measured(codec: Codec, picture: Picture, target: Target, file: Container) -> float:
    """The size, bits per pixel, PSNR or MS-SSIM of a file, in the target's units."""
    if target.measure == "size":
        return file.size
    if target.measure == "bpp":
        return 8 * file.size / (file.header.width * file.header.height)
    decoded = codec.decode(file).pixels
    if target.measure == "psnr":
        return psnr(picture.pixels, decoded)
    return decibel(ms_ssim(picture.pixels, decoded) or 0)


def command(path: Path, *options: object) -> float:
    """Run `ticodec encode`. Returns its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["encode", path, Path(folder) / "out.tic", *options, "--quiet"]
        run = [sys.executable, "-m", "ticodec", *map(str, words)]
        return timed(lambda: subprocess.run(run, check=True))[1]


def print_row(
    target: Target, rows: list[Row], ratio: float, pairs: list[tuple[float, float]]
) -> None:
    """Print a target's row. Values are only of photos for which some quality reaches the target.

    Args:
        ratio: the encoding time with the target, divided by the time without one.
        pairs: seconds of the command, with the target and without one, for each photo.
    """
    near = [row for row in rows if not row.at_end]
    least, most = target.accepted
    values = [row.value for row in near]
    looking, plain = zip(*pairs, strict=True) if pairs else ((), ())
    cells = [
        f"{target}",
        f"{len(near)} of {len(rows)}",
        target.said(min(values)) if near else "",
        target.said(max(values)) if near else "",
        f"{sum(not least <= value <= most for value in values)}",
        f"{mean(row.trials for row in rows):.2f}",
        f"{max(row.trials for row in rows)}",
        f"{ratio:.2f}",
        f"{median(looking) / median(plain):.2f}" if pairs else "",
    ]
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
