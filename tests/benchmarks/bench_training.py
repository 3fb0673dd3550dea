"""Times a training step, and compares it with the device's matrix rate.

    python tests/benchmarks/bench_training.py --model tic --crop 256 --batch 32 --compile
    python tests/benchmarks/bench_training.py --model tic-lite --crop 128 --batch 8
    python tests/benchmarks/bench_training.py --model icat-lite --step 1 --crop 224 --batch 16

Crops are cut from random pixels on the device, as in training. No result is read from the device
during the timed steps. The matrix rate is the rate of a large product in the type that training
uses. The operations of the forward and backward pass are counted, those of Muon are not.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1]))

from ticodec.device import pick_device
from ticodec.training.loop import device_name
from ticodec.training.request import Request
from ticodec.training.start import start
from ticodec.training.trainer import AnyTrainer


def parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--model", default="tic-lite")
    options.add_argument("--crop", type=int, default=128)
    options.add_argument("--batch", type=int, default=8)
    options.add_argument("--steps", type=int, default=20, help="timed steps per round")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--device", default="auto")
    options.add_argument("--compile", action="store_true")
    options.add_argument("--optimizer", default="adam")
    options.add_argument("--step", type=int, choices=(1, 2), help="step of icat's training")
    options.add_argument("--augment", help="augmentation of labelled images: full, mild or none")
    return options


def main(words: list[str] | None = None) -> None:
    """Measure and print the figures."""
    a = parser().parse_args(words)
    device = pick_device(a.device)
    more: dict[str, Any] = {}
    if a.step is not None:
        more["step"] = a.step
    if a.augment is not None:
        more["augment"] = a.augment
    trainer, data = begun(
        a.model, a.crop, a.batch, device, a.compile, optimizer=a.optimizer, **more
    )
    work = flops(a.model, a.crop, **more)
    for _ in range(3):
        trainer.train_step(data)
    rounds = [seconds(lambda: trainer.train_step(data), a.steps, device) for _ in range(a.rounds)]
    step = statistics.median(rounds)
    rate, peak = work * a.batch / step, matrix_rate(device, trainer.bf16)
    print(f"{device_name(device)}, torch {torch.__version__}, {a.model}, {a.batch} × {a.crop}²")
    slowest, fastest = max(rounds), min(rounds)
    print(f"{a.batch / step:.1f} crops/s (rounds {fastest:.3f} to {slowest:.3f} s per step)")
    print(f"{work / 1e9:.1f} GFLOP per crop, {rate / 1e12:.3f} TFLOP/s")
    print(f"{rate / peak:.0%} of the matrix rate, {peak / 1e12:.3f} TFLOP/s")
    if device.type == "cuda":
        print(f"{torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB of peak memory")


def begun(
    model: str, crop: int, batch: int, device: torch.device, compile: bool = False, **more: Any
) -> tuple[AnyTrainer, Any]:
    """A trainer with random weights, and its data: random images on the device."""
    changes = {"crop": crop, "batch": batch, **more}
    with TemporaryDirectory() as folder:
        for name in ("a", "b"):
            (Path(folder) / name).mkdir()
            for i in range(4):
                size = (crop + 32, crop + 32, 3)
                pixels = np.random.default_rng(i).integers(0, 256, size, np.uint8)
                Image.fromarray(pixels).save(Path(folder) / name / f"{i}.png")
        trainer = start(Request(Path(folder), model, changes, device, compile=compile))
        return trainer, trainer.load_data(Path(folder), lambda total: None)[0]


def flops(model: str, crop: int, **more: Any) -> float:
    """Floating-point operations of the matrix products of a training step, per crop."""
    # Counted on the CPU, where none of our own kernels hides products from the counter.
    trainer, data = begun(model, crop, 1, torch.device("cpu"), **more)
    with FlopCounterMode(display=False) as counter:
        trainer.train_step(data)
    return float(counter.get_total_flops())


def seconds(run: object, times: int, device: torch.device) -> float:
    """Mean seconds of `run()`."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    started = time.perf_counter()
    for _ in range(times):
        run()  # type: ignore[operator]
    wait()
    return (time.perf_counter() - started) / times


def matrix_rate(device: torch.device, bf16: bool) -> float:
    """FLOP/s of a large product, from the fastest of ten runs."""
    size = 8192 if device.type == "cuda" else 2048
    a, b = torch.randn(2, size, size, device=device, dtype=torch.bfloat16 if bf16 else torch.float)
    a @ b
    return 2 * size**3 / min(seconds(lambda: a @ b, 1, device) for _ in range(10))


if __name__ == "__main__":
    main()
