"""Measures how large images affect accuracy, and how the joint model's tiles affect PSNR.

    python tests/benchmarks/large_images.py accuracy FOLDER_OF_CLASSES -m tic-plus -q 3
    python tests/benchmarks/large_images.py tiles PHOTOS -m icat-lite

`accuracy` enlarges every image 1, 2 and 4 times, encodes it, and classifies it from the bitstream.
"classify" does this as the command does: a layer of the classifier halves a TIC model's latents
until the map is small. Other methods are the mean probability over interleaved parts, means over
k×k latents, tiles of the learned grid, and the whole map with interpolated positions.

`tiles` decodes photos twice: with the shared blocks run in tiles of the learned grid, as `decode`
runs them, and with the shared blocks run on the whole map with interpolated positions. The
difference of the PSNR is what the tiles cost.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import avg_pool2d

import ticodec
from ticodec.classifier import Classifier, interleaved
from ticodec.codec import Codec
from ticodec.container import read
from ticodec.image_files import list_images
from ticodec.models.config import STRIDE_Y
from ticodec.models.vit import tile_starts
from ticodec.psnr import psnr

FACTORS = (1, 2, 4)


@torch.inference_mode()
def ways(classifier: Classifier, y: torch.Tensor) -> dict[str, int]:
    """The class of latents (h, w, M), by each method of treating a large map."""
    vit = classifier.vit
    grid, dtype = vit.config.grid, vit.embed.weight.dtype
    x = y[None].to(dtype)
    h, w = y.shape[:2]
    th, tw = min(h, grid), min(w, grid)
    tiles = [x[:, i : i + th, j : j + tw] for i in tile_starts(h, th) for j in tile_starts(w, tw)]
    k = max(1, round(min(h, w) / grid))
    means = avg_pool2d(y[None].permute(0, 3, 1, 2), k).permute(0, 2, 3, 1)
    parts = interleaved(y[None], grid)
    return {
        "classify": int(classifier.probabilities(y).argmax()),
        "interleaved": int(sum(vit(p.to(dtype)).float().softmax(-1) for p in parts).argmax()),
        "averaged": int(vit(means.to(dtype)).argmax()),
        "tiles": int(vit(torch.cat(tiles)).float().softmax(-1).mean(0).argmax()),
        "whole": int(vit(x).argmax()),
    }


def accuracy(codec: Codec, folder: Path, quality: float, count: int) -> None:
    """Print the top-1 accuracy at every size, by every method."""
    classifier = codec.classifier()
    names = {label.replace(" ", "_"): i for i, label in enumerate(classifier.labels)}
    paths = [path for path in list_images(folder) if path.parent.name in names]
    paths = paths[:: max(1, len(paths) // count)]
    for factor in FACTORS:
        right: dict[str, int] = {}
        for path in paths:
            image = Image.open(path).convert("RGB")
            size = (image.width * factor, image.height * factor)
            pixels = np.asarray(image.resize(size, Image.Resampling.LANCZOS))
            container = read(codec.encode(pixels, quality))
            _, down = codec.gains(container.header.quality)
            y = (codec.latents(container) * down[0])[
                : -(-size[1] // STRIDE_Y), : -(-size[0] // STRIDE_Y)
            ]
            for way, found in ways(classifier, y).items():
                right[way] = right.get(way, 0) + (found == names[path.parent.name])
        shown = ", ".join(f"{way} {hits / len(paths):.1%}" for way, hits in right.items())
        print(f"{224 * factor} px, {len(paths)} images: top-1 {shown}", flush=True)


@torch.inference_mode()
def tiles(codec: Codec, folder: Path) -> None:
    """Print the mean PSNR with and without tiles, at every quality."""
    network, vit = codec.network, codec.network.vit  # type: ignore[union-attr]
    grid = vit.config.grid
    low, high = codec.entry.qualities or (0, 0)
    for quality in np.arange(low, high + 0.5).tolist():
        found: dict[str, list[float]] = {"tiles": [], "whole": []}
        for path in list_images(folder):
            pixels = np.asarray(Image.open(path).convert("RGB"))
            data = codec.encode(pixels, quality)
            found["tiles"].append(psnr(pixels, codec.decode(data).pixels))
            container = read(data)
            _, down = codec.gains(container.header.quality)
            y = codec.latents(container) * down[0]
            z0 = vit.embed(y[None].to(codec.dtype))
            outputs = vit.run(vit.sequence(z0), vit.blocks[:3])
            maps = [x[:, 1:].unflatten(1, z0.shape[1:3]) for x in outputs]
            x = codec.g_s(network.aggregation([z0, *maps]).float())
            x = x[0, : pixels.shape[0], : pixels.shape[1]]
            whole = ((x + 0.5) * 255).round().clamp(0, 255).byte().numpy()
            found["whole"].append(psnr(pixels, whole))
        means = {way: float(np.mean(values)) for way, values in found.items()}
        print(
            f"quality {quality:g}: tiles of {grid}×{grid} {means['tiles']:.3f} dB, "
            f"the whole map at once {means['whole']:.3f} dB",
            flush=True,
        )


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("what", choices=("accuracy", "tiles"))
    options.add_argument("folder", type=Path, help="images; accuracy: one subfolder per class")
    options.add_argument("-m", "--model", help="default: the default model")
    options.add_argument("-q", "--quality", type=float, default=3, help="quality for accuracy")
    options.add_argument("--count", type=int, default=300, help="number of images for accuracy")
    return options


def main(words: list[str] | None = None) -> None:
    """Run one of the two measurements."""
    a = parser().parse_args(words)
    codec = ticodec.load(a.model, device="cpu")
    if a.what == "accuracy":
        accuracy(codec, a.folder, a.quality, a.count)
    else:
        tiles(codec, a.folder)


if __name__ == "__main__":
    main()
