"""The demo of `make demo`: encode and decode a sample photo, print a table, make a picture.

Everything goes through the `ticodec` command, as a user would run it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

SAMPLE = Path(__file__).parent / "samples" / "kodim23.png"
QUALITIES = (1, 3, 5, 8)
SHOWN = 5


def ticodec(*arguments: object) -> dict[str, float]:
    """Run the command, return what it prints as JSON."""
    command = [sys.executable, "-m", "ticodec.cli.app", *map(str, arguments), "--json", "-f"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def psnr(a: Image.Image, b: Image.Image) -> float:
    """dB between two 8-bit RGB images."""
    error = np.asarray(a.convert("RGB")).astype(float) - np.asarray(b.convert("RGB"))
    return float(10 * np.log10(255**2 / max(np.mean(error**2), 1e-9)))


def side_by_side(left: Image.Image, right: Image.Image, path: Path) -> None:
    """Both images in one, a white line between."""
    both = Image.new("RGB", (left.width + right.width + 8, left.height), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + 8, 0))
    both.save(path)


def main() -> None:
    """Encode and decode the sample at some qualities; the files are in demo/."""
    out = Path("demo")
    out.mkdir(exist_ok=True)
    original = Image.open(SAMPLE).convert("RGB")
    table = Table(title=f"{SAMPLE.name}, {original.width}×{original.height}")
    for column in ("quality", "bytes", "bpp", "PSNR, dB", "encode, s", "decode, s"):
        table.add_column(column, justify="right")
    png = SAMPLE.stat().st_size
    bpp = 8 * png / (original.width * original.height)
    table.add_row("original PNG", f"{png:,}", f"{bpp:.3f}", "-", "-", "-")
    for quality in QUALITIES:
        tic, back = out / f"q{quality}.tic", out / f"q{quality}.png"
        coded = ticodec("encode", SAMPLE, tic, "-q", quality)
        decoded = ticodec("decode", tic, back)
        table.add_row(
            f"{quality}",
            f"{coded['bytes']:,}",
            f"{coded['bpp']:.3f}",
            f"{psnr(original, Image.open(back)):.2f}",
            f"{coded['seconds']:.1f}",
            f"{decoded['seconds']:.1f}",
        )
    side_by_side(original, Image.open(out / f"q{SHOWN}.png"), out / "side-by-side.png")
    Console().print(table)
    print(f"original and quality {SHOWN}, side by side: {out / 'side-by-side.png'}")


if __name__ == "__main__":
    main()
