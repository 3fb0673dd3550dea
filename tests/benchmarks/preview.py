"""Measures how good reduced decoding (1/2, 1/4, 1/8) is and what it costs, and fits its layers.

    python tests/benchmarks/preview.py measure PHOTOS [--models tic-plus,tic-lite] [-q 1,3,5,8]
    python tests/benchmarks/preview.py fit PHOTOS --model tic-lite --folder weights

`measure` codes every image of a folder and decodes it at 1/2, 1/4 and 1/8 of its size. It prints
the PSNR of the 8-bit pixels against the whole decoded picture and against the original. Both are
first reduced by the mean of every 2×2, 4×4 or 8×8 pixels. "work of g_s" is the share of its
products that reduced decoding computes.

`fit` fits the layers of reduced decoding to crops of photos, without every 50th photo. It writes
their file and its entry into a weights folder. (`ticodec export` fits those of new weights.)
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from flops_classify import gflop
from rich.console import Console
from rich.progress import track
from torch import Tensor

import ticodec
from ticodec import weights
from ticodec.codec import Codec
from ticodec.files import write_file
from ticodec.image_files import list_images
from ticodec.inputs import SCALES
from ticodec.models.families import build
from ticodec.models.preview import DOUBLINGS, PreviewLayers, doublings
from ticodec.picture import smaller
from ticodec.psnr import psnr
from ticodec.reading.read import read_picture
from ticodec.training.data.photos import Photos, split
from ticodec.training.export.install import entry_fields
from ticodec.training.export.previews import fit, preview_bytes, view
from ticodec.training.float_latents import frozen_network
from ticodec.weights.manifest import MANIFEST

#: Number of crops that are coded at one quality.
GROUP = 8


@torch.inference_mode()
def shares(codec: Codec) -> dict[int, float]:
    """The share of the products of g_s that each scale takes."""
    network = build(codec.config).eval()
    modules, ups, layers = list(network.g_s), doublings(network.g_s), PreviewLayers(network.g_s)
    # 32×32 is a whole number of windows at every scale, so that no window is padded.
    x = network.synthesis_input(torch.zeros(1, 32, 32, codec.config.M), torch.float32)

    def work(scale: int) -> float:
        def run() -> None:
            y = x
            for module in modules if scale == 1 else modules[: ups[DOUBLINGS[scale]]]:
                y = module(y)
            if scale > 1:
                layers.of(scale)(y)

        return gflop(run)

    return {scale: work(scale) / work(1) for scale in DOUBLINGS}


def measure(options: argparse.Namespace) -> None:
    """Measure, and print a Markdown table."""
    paths = list_images(options.photos)
    columns = ("model", "size", "work of g_s", "quality", "dB to whole", "minimum", "to original")
    print(f"| {' | '.join(columns)} | whole to original |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in options.models.split(","):
        codec = ticodec.load(name, device="cpu")
        work = shares(codec)
        found = defaultdict(list)
        for path in track(paths, name, console=Console(stderr=True)):
            picture = read_picture(path.read_bytes())
            for quality in map(float, options.quality.split(",")):
                if codec.entry.qualities and quality > codec.entry.qualities[1]:
                    continue
                (file,) = codec.containers([picture], quality)
                y_hat = codec.latents(file)
                whole = codec.picture(file, y_hat).pixels
                for scale in SCALES[1:]:
                    wanted, original = smaller(whole, scale), smaller(picture.pixels, scale)
                    given = codec.picture(file, y_hat, scale=scale).pixels
                    pairs = (given, wanted), (given, original), (wanted, original)
                    found[scale, quality].append([psnr(*pair) for pair in pairs])
        for (scale, quality), rows in sorted(found.items()):
            near, true, whole = np.mean(rows, 0)
            print(
                f"| `{name}` | 1/{scale} | {work[scale]:.1%} | {quality:g} | {near:.1f} "
                f"| {min(row[0] for row in rows):.1f} | {true:.1f} | {whole:.1f} |"
            )


def crops(photos: Path, groups: int, side: int) -> Iterator[Tensor]:
    """Groups of crops of the photos that are not held out. Crops are turned and recoloured."""
    training, _ = split(list_images(photos))
    images = (read_picture(path.read_bytes()).pixels for path in training)
    held = Photos(images, side, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    for number in track(range(groups), "fitting", console=Console(stderr=True)):
        yield view(held.crops(GROUP, side, generator), number)


def install(options: argparse.Namespace) -> None:
    """Fit the layers of a model, and install them in the weights folder that has the model."""
    folder = options.folder
    entry = next(e for e in weights.entries(folder) if e.name == options.model)
    network, _ = frozen_network(entry, torch.device("cpu"))
    images = crops(options.photos, options.groups, options.crop)
    data = preview_bytes(fit(network, images), entry.sha256[:8])
    path = folder / f"{options.model}-preview.safetensors"
    fields = entry_fields(options.model, data) | {"file": path.name}
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    manifest["models"][options.model]["preview"] = fields
    write_file(path, data)
    write_file(folder / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
    print(f"{path}: {len(data):,} bytes")


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = options.add_subparsers(required=True)
    measured = commands.add_parser("measure", help="measure, and print a table")
    measured.set_defaults(run=measure)
    measured.add_argument("photos", type=Path)
    commas = "separated by commas"
    measured.add_argument("--models", default="tic-plus,tic-lite,icat-lite", help=commas)
    measured.add_argument("-q", "--quality", default="1,3,5,8", help=commas)
    fitted = commands.add_parser("fit", help="fit and install the layers of a model")
    fitted.set_defaults(run=install)
    fitted.add_argument("photos", type=Path)
    fitted.add_argument("--model", required=True)
    fitted.add_argument("--folder", type=Path, required=True, help="weights folder with the model")
    fitted.add_argument("--groups", type=int, default=80, help="groups of 8 crops of one quality")
    fitted.add_argument("--crop", type=int, default=256, help="side of a crop")
    return options


def main(words: list[str] | None = None) -> None:
    """Run one of the commands."""
    options = parser().parse_args(words)
    options.run(options)


if __name__ == "__main__":
    main()
