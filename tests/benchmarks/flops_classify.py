"""Counts the work of classifying an image from the bitstream, and from its decoded pixels.

Counts the products of every part at 224² pixels, as 2 operations per multiply-add, on networks with
random weights. Entropy decoding is counted on the float version of the integer path, which has the
same products.

    python tests/benchmarks/flops_classify.py [--side 224] [--models tic-plus,tic-lite]
"""

from __future__ import annotations

import argparse

import torch
from rich.console import Console
from rich.table import Table
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ticodec.models.config import VITS
from ticodec.models.families import PRESETS, build, preset
from ticodec.models.icat import Icat
from ticodec.models.image_padding import pad_image
from ticodec.models.vit import ViT

CLASSES = 1000
#: Pairs of a preset and the Transformer that classifies its latents or its decoded pixels. First
#: come the pairs that ship with weights, then those of the papers.
PAIRS = (
    *((name, "vit-lite") for name in ("tic-plus", "tic-lite", "icat-lite")),
    *((name, "vit") for name in PRESETS if not name.endswith("-lite")),
)


def gflop(run: object) -> float:
    """Floating-point operations of `run()`, in units of 10⁹."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        run()  # type: ignore[operator]
    return float(counter.get_total_flops()) / 1e9


@torch.inference_mode()
def parts(name: str, vit_name: str, side: int) -> dict[str, float]:
    """GFLOP of each part of a preset at side² pixels, with one of the Transformers."""
    labels = ("x",) * CLASSES
    config = preset(name, labels=labels) if name.startswith("icat") else preset(name)
    network = build(config).eval()
    x = pad_image(torch.rand(1, side, side, 3) - 0.5, config.stride_z)
    y = network.g_a(x)
    z = network.h_a(y)
    shown = y[:, : side // 16, : side // 16]
    size = VITS[vit_name]
    vit = network.vit if isinstance(network, Icat) else ViT(config.M, size, CLASSES)
    pixels = ViT(768, size, CLASSES)
    work = {"encode": gflop(lambda: network.h_a(network.g_a(x)))}
    if isinstance(network, Icat):
        work["entropy"] = gflop(lambda: network.h_s(z))
        work["rebuild"] = gflop(lambda: network.g_s(network.fused(y)))
    else:
        work["entropy"] = gflop(lambda: network.head(network.h_s(z), network.cam(y)))
        work["rebuild"] = gflop(lambda: network.g_s(y))
    work["latents"] = gflop(lambda: vit.eval()(shown))
    patches = torch.rand(1, side // 16, side // 16, 768)
    work["pixels"] = gflop(lambda: pixels.eval()(patches))
    return work


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--side", type=int, default=224, help="side of the image in pixels")
    options.add_argument("--models", default=",".join(PRESETS), help="presets, separated by commas")
    return options


def main(words: list[str] | None = None) -> None:
    """Count the work, and print the table."""
    options = parser().parse_args(words)
    side = options.side
    table = Table(
        "GFLOP", "classifier", "encode", "entropy decode", "rebuild pixels", "ViT on ŷ",
        "ViT on pixels", "classify", "decode + classify", "ratio", title=f"{side}² pixels",
    )  # fmt: skip
    for column in table.columns[2:]:
        column.justify = "right"
    models = options.models.split(",")
    for name, vit_name in PAIRS:
        if name not in models:
            continue
        work = parts(name, vit_name, side)
        from_stream = work["entropy"] + work["latents"]
        from_pixels = work["entropy"] + work["rebuild"] + work["pixels"]
        numbers = [*work.values(), from_stream, from_pixels]
        shown = (f"{value:.2f}" for value in numbers)
        table.add_row(name, vit_name, *shown, f"{from_stream / from_pixels:.0%}")
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
