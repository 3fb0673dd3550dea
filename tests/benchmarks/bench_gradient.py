"""Times a gradient through g_s, in the C extension and in PyTorch's autograd.

    python tests/benchmarks/bench_gradient.py PHOTO --models tic-plus,tic-lite

The gradient is that of the photo's squared error with respect to its latents. The methods take
turns (A B A B …). The table shows the median and the minimum of the seconds, and the minimum of the
processor time of all threads together, which other programs disturb less. The error is relative to
the norm of the gradient that autograd computes in float32. "forward" is g_s alone, run as in
decoding.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from speed.engines import TYPES, network
from torch import Tensor

from ticodec.models.gradient import SynthesisGradient, TorchGradient
from ticodec.models.image_padding import pad_image
from ticodec.models.inference import Transform

CPU = torch.device("cpu")
#: Seconds of rest between runs, because PyTorch's threads spin for a while after their work.
REST = 0.1
HEADER = """
| model | method | median s | min s | min processor s | error |
|---|---|---|---|---|---|"""

#: Takes latents and returns their gradient ("forward": the image).
Way = Callable[[Tensor], Tensor]


def latents(model: str, pixels: Tensor) -> tuple[torch.nn.Sequential, Tensor]:
    """g_s of a model, and its input for pixels (1, H, W, 3) at the model's middle quality."""
    of = network(model)
    with torch.no_grad():
        up, down = of.scaling(torch.tensor([(of.config.levels - 1) / 2]))
        return of.g_s, (of.g_a(pixels) * up).round() * down


def ways(g_s: torch.nn.Sequential, pixels: Tensor, types: list[str]) -> dict[str, Way]:
    """All methods that are timed, by name."""
    made: dict[str, Way] = {}
    for name in types:
        dtype = TYPES[name]
        made[f"forward {name}"] = Transform(copy.deepcopy(g_s), CPU, dtype)
        for way in ("ticodec", "autograd"):
            gradient = SynthesisGradient(g_s, CPU, dtype)
            if way == "autograd":
                gradient.way = TorchGradient(g_s, CPU, dtype)
            made[f"{way} {name}"] = lambda y, of=gradient: of(y, lambda x: x - pixels)
    return made


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    options = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    options.add_argument("photo", type=Path)
    options.add_argument("--models", default="tic-plus,tic-lite", help="names, separated by commas")
    options.add_argument(
        "--types", default="bf16,float32", help="bf16, float32, or both separated by a comma"
    )
    options.add_argument("--rounds", type=int, default=7, help="timed runs of each method")
    options.add_argument("--threads", type=int, default=torch.get_num_threads())
    return options


def measured(found: dict[str, Way], y: Tensor, rounds: int) -> dict[str, list[list[float]]]:
    """(seconds, processor seconds) of each run of each method, without its first run."""
    spent: dict[str, list[list[float]]] = {name: [] for name in found}
    for _ in range(rounds + 1):
        for name, way in found.items():
            time.sleep(REST)
            start = time.perf_counter(), time.process_time()
            way(y)
            end = time.perf_counter(), time.process_time()
            spent[name].append([b - a for a, b in zip(start, end, strict=True)])
    return {name: runs[1:] for name, runs in spent.items()}


def main(words: list[str] | None = None) -> None:
    """Measure, and print a Markdown table."""
    options = parser().parse_args(words)
    torch.set_num_threads(options.threads)
    photo = np.array(Image.open(options.photo).convert("RGB"))
    pixels = pad_image(torch.from_numpy(photo)[None].float() / 255 - 0.5, 64)
    print(HEADER)
    for model in options.models.split(","):
        g_s, y = latents(model, pixels)
        exact = ways(g_s, pixels, ["float32"])["autograd float32"](y)
        found = ways(g_s, pixels, options.types.split(","))
        for name, spent in measured(found, y, options.rounds).items():
            walls, processors = zip(*spent, strict=True)
            times = (statistics.median(walls), min(walls), min(processors))
            numbers = " | ".join(f"{one:.2f}" for one in times)
            result = found[name](y)
            error = ""
            if result.shape == exact.shape:
                error = f"{(result - exact).norm() / exact.norm():.1e}"
            print(f"| {model} | {name} | {numbers} | {error} |", flush=True)


if __name__ == "__main__":
    main()
