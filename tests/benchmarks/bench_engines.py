"""Compares other inference engines with ticodec's own runner, on g_a and g_s.

    python tests/benchmarks/bench_engines.py --image PHOTO --models tic-plus,tic-lite

Each engine runs on the CPU in a process of its own. The engines take turns (A B A B …). An engine
that is not installed is left out: `pip install openvino onnxruntime onnx onnxscript`. torch.compile
needs a C++ compiler. "compile-again" is torch.compile with its cache loaded from a file.

PSNR (dB) compares the output with that of the modules in float32. Its peak is the range of that
output. The two columns of memory are the peak of the engine's process beyond what it had after
importing torch: until the first result ("to load"), and in later runs ("to run"). "new sizes" is
how much longer the first run at a size takes than the second one: for the image turned by 90°, and
for a square.

The last rows of each table show how long the matrix products alone would take at the rate that
PyTorch reaches in one product. In float32 an engine with wider instructions can be faster.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from importlib.metadata import distribution
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from speed.engines import ENGINES, TYPES, Job, Worker, export, network
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ticodec.models.image_padding import pad_image
from ticodec.psnr import psnr_of_mse

#: Seconds of rest between runs, because an engine's threads may spin for a while after their work.
REST = 0.3
#: Sizes of the product whose rate is measured, which is one of an MLP on a strip of tokens, and how
#: often it runs.
TOKENS, IN, OUT, TIMES = 3072, 128, 512, 200
#: Engines that take an exported graph.
ONNX = {"openvino", "openvino-fixed", "onnxruntime"}
HEADER = """| engine | s | least s | dB | import s | load s | MB to load | to run | new sizes, s |
|---|---|---|---|---|---|---|---|---|"""


def transforms(model: str, pixels: Any) -> Iterator[tuple[str, Tensor, Tensor, float]]:
    """For g_a and g_s: name, input, output of the modules in float32, floating-point operations."""
    of = network(model)
    x = pad_image(torch.from_numpy(pixels)[None].float() / 255 - 0.5, of.config.stride_z)
    up, down = of.scaling(torch.tensor([(of.config.levels - 1) / 2]))
    for part in ("g_a", "g_s"):
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            y = getattr(of, part)(x)
        yield part, x, y, counter.get_total_flops()
        if part == "g_a":
            x = (y * up).round() * down


def started(names: list[str], job: Job, x: Tensor) -> Iterator[Worker]:
    """Load the engines that can run a transform. Prints the error of each engine that cannot."""
    for name, kind in product(names, TYPES):
        own = job._replace(type=kind)
        try:
            if not own.graph(kind).exists() and ONNX & {*names}:
                export(own, x)
            yield Worker(name, own, x)
        except (RuntimeError, ImportError) as error:
            print(f"{name} {kind}: {error}", flush=True)


def turns(workers: list[Worker], x: Tensor) -> list[float]:
    """Seconds of one run of each engine."""
    found = []
    for worker in workers:
        time.sleep(REST)
        found.append(worker.run(x)[1])
    return found


def new_sizes(worker: Worker, x: Tensor) -> str:
    """How many seconds longer the first run takes than the second one, at two other sizes."""
    side = min(x.shape[1:3])
    found = []
    for other in (x.transpose(1, 2).contiguous(), x[:, :side, :side].contiguous()):
        try:
            first, second = (worker.run(other)[1] for _ in range(2))
            found.append(f"{first - second:+.2f}")
        except RuntimeError:
            found.append("refused")
    return ", ".join(found)


def rate(kind: torch.dtype) -> float:
    """FLOP/s of one product of the transforms, from its fastest run."""
    x, weight = torch.rand(TOKENS, IN, dtype=kind), torch.rand(OUT, IN, dtype=kind)
    seconds = []
    with torch.inference_mode():
        for _ in range(TIMES):
            start = time.perf_counter()
            torch.nn.functional.linear(x, weight)
            seconds.append(time.perf_counter() - start)
    return 2 * TOKENS * IN * OUT / min(seconds)


def installed(package: str) -> str:
    """MB of the files of an installed package, without the packages it depends on."""
    of = distribution(package)
    paths = [Path(str(of.locate_file(file))) for file in of.files or ()]
    return f"{sum(path.stat().st_size for path in paths if path.is_file()) / 1e6:.0f}"


def row(worker: Worker, seconds: list[float], x: Tensor, y: Tensor) -> str:
    """A row of the table.

    Args:
        seconds: the seconds of each run.
        x: the input of the transform.
        y: the output of the modules in float32.
    """
    facts, error = worker.facts, (worker.run(x)[0] - y) / (y.max() - y.min())
    cells = (
        f"{worker.name} {worker.job.type}",
        f"{statistics.median(seconds):.3f}",
        f"{min(seconds):.3f}",
        f"{psnr_of_mse(float(error.square().mean())):.1f}",
        f"{facts['import']:.2f}",
        f"{facts['load']:.2f}",
        f"{facts['loading']:.0f}",
        f"{facts['running']:.0f}",
        new_sizes(worker, x),
    )
    return f"| {' | '.join(cells)} |"


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--image", type=Path, required=True)
    options.add_argument("--models", default="tic-plus,tic-lite")
    options.add_argument("--parts", default="g_a,g_s")
    options.add_argument("--engines", default=",".join(ENGINES))
    options.add_argument("--repeats", type=int, default=15)
    options.add_argument("--threads", type=int, default=2)
    return options


def main(words: list[str] | None = None) -> None:
    """Print a table for each transform."""
    a = parser().parse_args(words)
    torch.set_num_threads(a.threads)
    pixels = np.array(Image.open(a.image).convert("RGB"))
    names = a.engines.split(",")
    for package in sorted({ENGINES[name][0] for name in names}):
        if find_spec(package) is None:
            print(f"{package} is not installed: left out")
            names = [name for name in names if ENGINES[name][0] != package]
        elif package in ONNX:
            print(f"{package} {distribution(package).version}: {installed(package)} MB installed")
    for model in a.models.split(","):
        for part, x, y, work in transforms(model, pixels):
            if part not in a.parts.split(","):
                continue
            with TemporaryDirectory() as folder:
                job = Job(model, part, "", a.threads, Path(folder))
                workers = [*started(names, job, x)]
                seconds = [turns(workers, x) for _ in range(a.repeats)]
                rates = {kind: max(rate(TYPES[kind]) for _ in range(a.repeats)) for kind in TYPES}
                print(f"\n{model} {part}, {tuple(x.shape)}, {work / 1e9:.1f} GFLOP\n\n{HEADER}")
                for worker, own in zip(workers, zip(*seconds, strict=True), strict=True):
                    print(row(worker, [*own], x, y), flush=True)
                    worker.stop()
            for kind, value in rates.items():
                limit = f"products alone {kind}, {value / 1e9:.0f} GFLOP/s"
                print(f"| {limit} | | {work / value:.3f} {'| ' * 6}|", flush=True)


if __name__ == "__main__":
    main()
