"""Measures the time and memory of whole commands, for photos of all sizes.

    python tests/benchmarks/bench_sizes.py PHOTO --models tic-plus,tic-lite

Images are made of the photo and its mirror images side by side, so that they have its detail. Each
command is a process of its own: it starts Python, loads the network, and reads and writes files.
The table shows the median seconds of its runs and its peak memory.

The transforms work in bands of rows. "seams" shows how visible the borders of the bands are: the
PSNR, in dB, between a picture decoded in bands and the same picture decoded as one map.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

SIZES = "1x1,64x64,768x512,2000x1500,4000x3000,6000x4000,12000x8000"
#: Commands that take at least LONG seconds run once. Shorter ones run REPEATS times.
LONG, REPEATS = 20.0, 3
#: Runs a command, and prints its seconds and its peak memory in KiB. This program is small because
#: the memory of a process when it starts another one counts towards the other one's peak.
LAUNCHER = """
import os, sys, time
start = time.perf_counter()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
print(time.perf_counter() - start, usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""
COLUMNS = ("size", "megapixels", "encode s", "GiB", "decode s", "GiB", "seconds per megapixel")


def mosaic(photo: Image.Image, width: int, height: int) -> Image.Image:
    """The photo and its mirror images, repeated to fill an image of this size."""
    pixels = np.asarray(photo.convert("RGB"))
    pixels = np.concatenate([pixels, pixels[:, ::-1]], 1)
    pixels = np.concatenate([pixels, pixels[::-1]])
    down, across = (-(-size // of) for size, of in zip((height, width), pixels.shape, strict=False))
    return Image.fromarray(np.tile(pixels, (down, across, 1))[:height, :width])


def measured(*words: str | Path) -> tuple[float, float]:
    """(median seconds, peak GiB) of a command."""
    seconds, peak = [], 0
    while len(seconds) < REPEATS and max(seconds, default=0) < LONG:
        command = [sys.executable, "-m", "ticodec", *map(str, words), "--quiet", "--force"]
        done = subprocess.run([sys.executable, "-c", LAUNCHER, *command], capture_output=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed: {done.stderr.decode()}")
        taken, kib = done.stdout.split()
        seconds.append(float(taken))
        peak = max(peak, int(kib))
    return statistics.median(seconds), peak / 2**20


def rows(photo: Image.Image, sizes: list[tuple[int, int]], model: str) -> Iterator[list[str]]:
    """The rows of one model's table."""
    with tempfile.TemporaryDirectory() as folder:
        png, tic, back = (Path(folder) / name for name in ("a.png", "a.tic", "b.png"))
        for width, height in track(sizes, model, console=Console(stderr=True), transient=True):
            mosaic(photo, width, height).save(png, compress_level=1)
            encode_s, encode_gib = measured("encode", png, tic, "-m", model)
            decode_s, decode_gib = measured("decode", tic, back)
            mega = width * height / 1e6
            yield [
                f"{width}×{height}",
                f"{mega:.2g}",
                f"{encode_s:.1f}",
                f"{encode_gib:.2f}",
                f"{decode_s:.1f}",
                f"{decode_gib:.2f}",
                f"{(encode_s + decode_s) / mega:.2f}" if mega > 1 else "",
            ]


def seams(photo: Image.Image, model: str) -> float:
    """PSNR in dB between a picture decoded in bands and as one map. 99 if they are equal."""
    import ticodec
    from ticodec.psnr import psnr

    codec = ticodec.load(model, device="cpu")
    data = codec.encode(photo)
    bands = codec.decode(data).pixels
    codec.g_s.band_bytes = 1 << 60
    whole = codec.decode(data).pixels
    return 99.0 if np.array_equal(bands, whole) else psnr(bands, whole)


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    options = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    options.add_argument("photo", type=Path)
    options.add_argument("--models", default="tic-plus,tic-lite", help="names, separated by commas")
    options.add_argument("--sizes", default=SIZES, help="WIDTHxHEIGHT, separated by commas")
    return options


def main(words: list[str] | None = None) -> None:
    """Measure, and print a Markdown table for each model."""
    options = parser().parse_args(words)
    photo = Image.open(options.photo)
    sizes: list[Any] = [tuple(map(int, size.split("x"))) for size in options.sizes.split(",")]
    for model in options.models.split(","):
        print(f"\n{model}, seams: {seams(photo, model):.1f} dB\n")
        print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
        for row in rows(photo, sizes, model):
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
