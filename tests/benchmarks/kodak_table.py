"""The README's rate-distortion table: real bytes on disk and 8-bit decoded pixels, over a folder.

    python tests/benchmarks/kodak_table.py FOLDER_OF_KODAK [--quality 1,3,5,8] [--model NAME]

Each image is encoded by the library, written to a file, read back and decoded; bpp counts
the file's bytes, container included. "Over prediction" compares them with what the float
model's likelihoods say: the cost of exactness.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))
from support import predicted_bytes

import ticodec
from ticodec import container
from ticodec.images import to_picture


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """dB between two 8-bit RGB arrays."""
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


def main() -> None:
    """Print the table in Markdown, one row a quality."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quality", default="1,3,5,8")
    parser.add_argument("--model")
    parser.add_argument("--peers", action="store_true", help="also JPEG and WebP")
    arguments = parser.parse_args()
    paths = sorted(arguments.folder.glob("*.png"))
    if not paths:
        raise SystemExit(f"{arguments.folder}: no PNG images in it")
    codec = ticodec.load(arguments.model)
    print(f"{len(paths)} images, model {codec.entry.name}, weights {codec.entry.fingerprint.hex()}")
    print("| quality | bytes | bpp | PSNR, dB | bytes over prediction | encode, s | decode, s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for quality in map(float, arguments.quality.split(",")):
        rows = [measure(codec, path, quality) for path in paths]
        size, bpp, db, predicted, encode, decode = np.mean(rows, axis=0)
        print(
            f"| {quality:g} | {size:,.0f} | {bpp:.3f} | {db:.2f} | {size / predicted - 1:+.2%} "
            f"| {encode:.2f} | {decode:.2f} |"
        )
    if arguments.peers:
        for name, ladder in {"JPEG": (10, 20, 40, 70), "WEBP": (10, 30, 50, 80)}.items():
            for setting in ladder:
                rates, dbs = zip(*(peer(path, name, setting) for path in paths), strict=True)
                print(f"| {name} {setting} | | {np.mean(rates):.3f} | {np.mean(dbs):.2f} | | | |")


def measure(codec: ticodec.codec.Codec, path: Path, quality: float) -> tuple[float, ...]:
    """(bytes, bpp, PSNR, predicted bytes, encode seconds, decode seconds) of one image."""
    picture = to_picture(Image.open(path))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image.tic"
        started = time.perf_counter()
        file.write_bytes(codec.encode(picture, quality))
        encoded = time.perf_counter()
        decoded = codec.decode(file.read_bytes())
        done = time.perf_counter()
        size = file.stat().st_size
        y_hat = codec.latents(container.read(file.read_bytes()))
        stored = codec.stored_quality(quality)
        predicted = predicted_bytes(codec, picture.pixels, y_hat, stored)
    height, width = picture.pixels.shape[:2]
    bpp = 8 * size / (height * width)
    db = psnr(decoded.pixels, picture.pixels)
    return size, bpp, db, predicted, encoded - started, done - encoded


def peer(path: Path, name: str, quality: int) -> tuple[float, float]:
    """(bpp, PSNR) of Pillow's encoder."""
    from io import BytesIO

    image, out = Image.open(path).convert("RGB"), BytesIO()
    image.save(out, name, quality=quality)
    bpp = 8 * len(out.getvalue()) / (image.width * image.height)
    return bpp, psnr(np.asarray(Image.open(out).convert("RGB")), np.asarray(image))


if __name__ == "__main__":
    main()
