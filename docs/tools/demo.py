"""The demo of `make demo`: encodes and decodes a sample photo, prints a table and makes a picture.

Every `.tic` file is written and read by the `ticodec` command, as a user would run it. The picture
shows a part of the photo three times: the original, the `.tic` file of the lowest quality, and an
AVIF file that is as large or a little larger.

    python docs/tools/demo.py [--image PHOTO] [--model NAME] [--quality 1,3,5,8] [--out demo]
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table

SAMPLE = Path(__file__).parents[1] / "samples" / "kodim23.png"
#: Side in pixels of the part of the photo that the picture shows, and how much it is enlarged.
SIDE, ZOOM = 224, 2
#: Where the part begins, as shares of the photo's width and height.
PLACE = 0.13, 0.2
#: Height in pixels of the line of text above each version.
CAPTION = 26


def ticodec(*arguments: object) -> dict[str, float]:
    """Run the command and return the JSON that it prints."""
    command = [sys.executable, "-m", "ticodec", *map(str, arguments), "--json", "-f"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def psnr(a: Image.Image, b: Image.Image) -> float:
    """The PSNR between two images, as 8-bit RGB, in dB."""
    error = np.asarray(a.convert("RGB")).astype(float) - np.asarray(b.convert("RGB"))
    return float(10 * np.log10(255**2 / max(np.mean(error**2), 1e-9)))


def beside(*images: Image.Image, gap: int = 8) -> Image.Image:
    """Images of the same height in a row, with white gaps between them."""
    width = sum(image.width for image in images) + gap * (len(images) - 1)
    row = Image.new("RGB", (width, images[0].height), "white")
    left = 0
    for image in images:
        row.paste(image, (left, 0))
        left += image.width + gap
    return row


def avif_of(photo: Image.Image, least: int) -> bytes:
    """The AVIF file of the lowest quality that has at least `least` bytes. `photo` is RGB."""
    for quality in range(1, 101):
        file = io.BytesIO()
        photo.save(file, "AVIF", quality=quality, max_threads=1)
        if file.tell() >= least:
            break
    return file.getvalue()


def panel(original: Image.Image, version: Image.Image, name: str) -> Image.Image:
    """The part of a version that is shown, with its name and its PSNR above it."""
    left, top = (round(side * share) for side, share in zip(original.size, PLACE, strict=True))
    part = version.crop((left, top, left + SIDE, top + SIDE))
    shown = Image.new("RGB", (SIDE * ZOOM, SIDE * ZOOM + CAPTION), "white")
    shown.paste(part.resize((SIDE * ZOOM,) * 2, Image.Resampling.BICUBIC), (0, CAPTION))
    text = name if version is original else f"{name}, {psnr(original, version):.1f} dB"
    ImageDraw.Draw(shown).text((2, 2), text, "#222222", ImageFont.load_default(17))
    return shown


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--image", type=Path, default=SAMPLE, metavar="PHOTO")
    options.add_argument("--model", help="a name that `ticodec models` lists")
    options.add_argument("--quality", default="1,3,5,8", help="qualities, separated by commas")
    options.add_argument("--out", type=Path, default=Path("demo"), metavar="FOLDER")
    return options


def main(words: list[str] | None = None) -> None:
    """Encode and decode a photo at several qualities. All files are written to `--out`."""
    options = parser().parse_args(words)
    photo, out = options.image, options.out
    model = [] if options.model is None else ["-m", options.model]
    qualities = [float(word) for word in options.quality.split(",")]
    out.mkdir(exist_ok=True)
    original = Image.open(photo).convert("RGB")
    table = Table(title=f"{photo.name}, {original.width}×{original.height}")
    for column in ("quality", "bytes", "bpp", "PSNR, dB", "encode, s", "decode, s"):
        table.add_column(column, justify="right")
    size = photo.stat().st_size
    bpp = 8 * size / (original.width * original.height)
    table.add_row("original", f"{size:,}", f"{bpp:.3f}", "-", "-", "-")
    for quality in qualities:
        tic, back = out / f"q{quality:g}.tic", out / f"q{quality:g}.png"
        coded = ticodec("encode", photo, tic, "-q", quality, *model)
        decoded = ticodec("decode", tic, back)
        table.add_row(
            f"{quality:g}",
            f"{coded['bytes']:,}",
            f"{coded['bpp']:.3f}",
            f"{psnr(original, Image.open(back)):.2f}",
            f"{coded['seconds']:.1f}",
            f"{decoded['seconds']:.1f}",
        )
    lowest = f"q{min(qualities):g}"
    tic = Image.open(out / f"{lowest}.png").convert("RGB")
    size = (out / f"{lowest}.tic").stat().st_size
    avif = avif_of(original, size)
    (out / f"{lowest}.avif").write_bytes(avif)
    picture = beside(
        panel(original, original, f"original: {photo.stat().st_size:,} bytes"),
        panel(original, tic, f"ticodec: {size:,} bytes"),
        panel(original, Image.open(io.BytesIO(avif)).convert("RGB"), f"AVIF: {len(avif):,} bytes"),
    )
    picture.save(out / "side-by-side.png", optimize=True)
    Console().print(table)
    print(f"quality {min(qualities):g} beside AVIF: {out / 'side-by-side.png'}")


if __name__ == "__main__":
    main()
