"""Makes a picture of photos decoded from `.tic` files, with the labels of `classify` below them.

Everything runs through the `ticodec` command, as for a user.

    python docs/tools/labels.py PHOTO… [--out docs/images/labels.png] [-q 3] [-m NAME]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from demo import beside
from PIL import Image, ImageDraw, ImageFont

#: The side of a photo in the picture, in pixels.
SIZE = 320
#: How many labels each photo gets.
LABELS = 3
INK, BAR, PAPER = "#222222", "#cfe3f5", "#ffffff"


def ticodec(*arguments: object) -> str:
    """Run the command and return what it prints."""
    command = [sys.executable, "-m", "ticodec", *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout


def panel(photo: Path, model: str | None, quality: float, folder: Path) -> Image.Image:
    """One decoded photo, and below it its labels, with bars for their probabilities."""
    tic, png = folder / f"{photo.stem}.tic", folder / f"{photo.stem}.png"
    named = [] if model is None else ["-m", model]
    coded = json.loads(ticodec("encode", photo, tic, "-q", quality, *named, "--json"))
    (classified,) = json.loads(ticodec("classify", tic, "--top", LABELS, "--json"))
    ticodec("decode", tic, png, "--quiet")
    image = Image.open(png).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side)).resize((SIZE, SIZE))
    font, small = ImageFont.load_default(17), ImageFont.load_default(13)
    row = 30
    out = Image.new("RGB", (SIZE, SIZE + 26 + row * LABELS), PAPER)
    out.paste(square)
    draw = ImageDraw.Draw(out)
    draw.text((4, SIZE + 5), f"{coded['bytes']:,} bytes, {coded['bpp']:.2f} bpp", INK, small)
    for number, label in enumerate(classified["labels"]):
        y = SIZE + 26 + row * number
        width = round(label["probability"] * SIZE)
        draw.rectangle((0, y, width, y + row - 5), BAR)
        draw.text((6, y + 2), label["label"], INK, font)
        draw.text((SIZE - 6, y + 2), f"{label['probability']:.0%}", INK, font, anchor="ra")
    return out


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("photos", nargs="+", type=Path)
    options.add_argument("--out", type=Path, default=Path("docs/images/labels.png"))
    options.add_argument("-m", "--model", help="name of installed weights")
    options.add_argument("-q", "--quality", type=float, default=3)
    return options


def main(words: list[str] | None = None) -> None:
    """Make the picture."""
    a = parser().parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        panels = [panel(photo, a.model, a.quality, Path(folder)) for photo in a.photos]
    beside(*panels, gap=12).save(a.out, optimize=True)


if __name__ == "__main__":
    main()
