"""Makes the golden files. They are never made again: every version must decode them.

Run from the repository's root, with ticodec installed:

    python tests/golden/make.py v2                       for a new format version
    python tests/golden/make.py v1 --shipped tic-plus    one file, for weights that are now shipped
"""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from PIL import Image
from support import GOLDEN, make_pixels

import ticodec
from ticodec import weights
from ticodec.codec import Codec
from ticodec.picture import Picture
from ticodec.writers import writer_of


def shipped(version: str, name: str) -> None:
    """Write the golden file of shipped weights: the golden crop at quality 3."""
    entry = weights.find(name)
    codec = Codec(entry, "cpu", bf16=False)
    crop = Picture(np.asarray(Image.open(GOLDEN / "crop.png").convert("RGB")))
    write(GOLDEN / version, codec, {f"{name}-{entry.fingerprint.hex()}-q3": (crop, 3)})


def main(version: str) -> None:
    """Write all golden files of a format version with the tiny networks."""
    os.environ["TICODEC_WEIGHTS"] = str(GOLDEN / "weights")
    codec = ticodec.load("tiny", device="cpu", bf16=False)
    alpha = make_pixels(50, 70, 3)[..., 0]
    grey = np.repeat(make_pixels(33, 40, 2)[..., :1], 3, -1)
    cases = {
        "photo-q5": (Picture(np.asarray(Image.open(GOLDEN / "crop.png").convert("RGB"))), 5),
        "photo-q8": (Picture(np.asarray(Image.open(GOLDEN / "crop.png").convert("RGB"))), 8),
        "pixel": (Picture(make_pixels(1, 1)), 1),
        "grey": (Picture(grey, grey=True), 3.25),
        "everything": (
            Picture(
                make_pixels(50, 70, 3),
                alpha=alpha,
                metadata={"icc": b"icc" * 50, "exif": b"Exif\0\0MM\0*" + bytes(20), "xmp": b"<x/>"},
            ),
            2,
        ),
    }
    folder = GOLDEN / version
    folder.mkdir()
    write(folder, codec, cases)
    crop = cases["photo-q5"][0]
    joint = ticodec.load("tiny-icat", device="cpu", bf16=False)
    write(folder, joint, {"joint-q1": (crop, 1), "joint-pixel": (Picture(make_pixels(1, 1)), 2.5)})


def write(folder: Path, codec: Codec, cases: dict[str, tuple[Picture, float]]) -> None:
    """Write NAME.tic, and NAME.png with the pixels it decodes to, for each case of one codec."""
    for name, (picture, quality) in cases.items():
        data = codec.encode(picture, quality)
        (folder / f"{name}.tic").write_bytes(data)
        decoded = codec.decode(data)
        decoded.metadata.clear()
        (folder / f"{name}.png").write_bytes(writer_of("png").write(decoded.to_image()))


if __name__ == "__main__":
    options = ArgumentParser(description="Makes the golden files.")
    options.add_argument("version", help="folder to write to: the format version, such as v1")
    options.add_argument("--shipped", metavar="NAME", help="write one file only, of these weights")
    given = options.parse_args()
    if given.shipped:
        shipped(given.version, given.shipped)
    else:
        main(given.version)
