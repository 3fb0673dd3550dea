"""Work of naming an image from the bitstream, against decoding it and naming the pixels.

Counts the products of every part at 224² pixels, 2 operations a multiply-add, on networks of
random weights. Entropy decoding is counted on the float twin of the integer path, which has the
same products.

    python tests/benchmarks/flops_classify.py [--side 224] [--models tic-lite,icat-lite]
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
from ticodec.models.swin import pad_to_multiple
from ticodec.models.vit import ViT

CLASSES = 1000
#: Presets, and the Transformer that reads their latents or the pixels they decode to.
PAIRS = {name: "vit-lite" if name.endswith("-lite") else "vit" for name in PRESETS}


def gflop(run: object) -> float:
    """10⁹ floating-point operations of `run()`."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        run()  # type: ignore[operator]
    return float(counter.get_total_flops()) / 1e9


@torch.inference_mode()
def parts(name: str, side: int) -> dict[str, float]:
    """Work of each part of a preset at side² pixels."""
    labels = ("x",) * CLASSES
    config = preset(name, labels=labels) if name.startswith("icat") else preset(name)
    network = build(config).eval()
    x = pad_to_multiple(torch.rand(1, side, side, 3) - 0.5, config.stride_z)
    y = network.g_a(x)
    z = network.h_a(y)
    shown = y[:, : side // 16, : side // 16]
    size = VITS[PAIRS[name]]
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
    """What the command line takes."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--side", type=int, default=224, help="of the image, in pixels")
    options.add_argument("--models", default=",".join(PAIRS), help="presets, by comma")
    return options


def main(words: list[str] | None = None) -> None:
    """Print the table."""
    options = parser().parse_args(words)
    side = options.side
    table = Table(
        "GFLOP", "encode", "entropy decode", "rebuild pixels", "ViT on ŷ", "ViT on pixels",
        "classify", "decode + classify", "ratio", title=f"{side}² pixels",
    )  # fmt: skip
    for column in table.columns[1:]:
        column.justify = "right"
    for name in options.models.split(","):
        work = parts(name, side)
        from_stream = work["entropy"] + work["latents"]
        from_pixels = work["entropy"] + work["rebuild"] + work["pixels"]
        numbers = [*work.values(), from_stream, from_pixels]
        table.add_row(
            name, *(f"{value:.2f}" for value in numbers), f"{from_stream / from_pixels:.0%}"
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
