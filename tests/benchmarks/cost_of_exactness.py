"""Measures what exact entropy coding costs: file sizes against the float model's likelihoods.

    python tests/benchmarks/cost_of_exactness.py FOLDER [--quality 1,3,5,8] [--model NAME]

The figures are means over the PNG images of a folder. `ticodec evaluate` measures rate, distortion
and time, and compares them with other codecs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from support import predicted_bytes

import ticodec
from ticodec import container
from ticodec.reading.read import to_picture


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("folder", type=Path)
    options.add_argument("--quality", default="1,3,5,8")
    options.add_argument("--model")
    return options


def main(words: list[str] | None = None) -> None:
    """Measure, and print a Markdown table with one row per quality."""
    arguments = parser().parse_args(words)
    paths = sorted(arguments.folder.glob("*.png"))
    if not paths:
        raise SystemExit(f"{arguments.folder}: this folder has no PNG images")
    codec = ticodec.load(arguments.model)
    print(f"{len(paths)} images, model {codec.entry.name}, weights {codec.entry.fingerprint.hex()}")
    print("| quality | bytes | predicted | bytes over prediction |")
    print("| --- | --- | --- | --- |")
    for quality in map(float, arguments.quality.split(",")):
        size, predicted = np.mean([measure(codec, path, quality) for path in paths], axis=0)
        print(f"| {quality:g} | {size:,.0f} | {predicted:,.0f} | {size / predicted - 1:+.2%} |")


def measure(codec: ticodec.codec.Codec, path: Path, quality: float) -> tuple[float, float]:
    """(bytes of the whole file, bytes predicted from the likelihoods) of one image."""
    picture = to_picture(Image.open(path))
    coded = codec.encode(picture, quality)
    y_hat = codec.latents(container.read(coded))
    stored = codec.stored_quality(quality)
    return len(coded), predicted_bytes(codec, picture.pixels, y_hat, stored)


if __name__ == "__main__":
    main()
