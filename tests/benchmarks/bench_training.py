"""How fast a training step is, and what part of the device's matrix rate that is.

    python tests/benchmarks/bench_training.py --model tic --crop 256 --batch 32 --compile
    python tests/benchmarks/bench_training.py --model tic-lite --crop 128 --batch 8

Crops are cut from random pixels held on the device, as in training; nothing is read from the
device inside the timed steps. The matrix rate is that of a large product in the type trained in;
operations counted are those of the passes forward and back, not Muon's.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1]))

from ticodec.codec import pick_device
from ticodec.models.config import preset
from ticodec.weights.training.data import Photos
from ticodec.weights.training.options import TrainOptions
from ticodec.weights.training.run import device_name
from ticodec.weights.training.trainer import PhotoData, Trainer


def main() -> None:
    """Print one line a figure."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="tic-lite")
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20, help="timed steps a round, five rounds")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--optimizer", default="adam")
    a = parser.parse_args()
    device = pick_device(a.device)
    options = TrainOptions(crop=a.crop, batch=a.batch, optimizer=a.optimizer)
    trainer = Trainer(preset(a.model), options, device, compile=a.compile)
    photos = data_of(noise(device, a.crop), a.crop)
    work = flops(a.model, a.crop)
    for _ in range(3):
        trainer.train_step(photos)
    rounds = [seconds(lambda: trainer.train_step(photos), a.steps, device) for _ in range(5)]
    step = statistics.median(rounds)
    rate, peak = work * a.batch / step, matrix_rate(device, trainer.bf16)
    print(f"{device_name(device)}, torch {torch.__version__}, {a.model}, {a.batch} × {a.crop}²")
    print(f"{a.batch / step:.1f} crops/s (rounds {min(rounds):.3f} to {max(rounds):.3f} s a step)")
    print(f"{work / 1e9:.1f} GFLOP a crop, {rate / 1e12:.3f} TFLOP/s")
    print(f"{rate / peak:.0%} of the matrix rate, {peak / 1e12:.3f} TFLOP/s")
    if device.type == "cuda":
        print(f"{torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB at most")


def data_of(photos: Photos, crop: int) -> PhotoData:
    """What the trainer takes."""
    return PhotoData(photos, photos.centres(crop))


def noise(device: torch.device, crop: int) -> Photos:
    """A few random images on the device."""
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{i}.png" for i in range(4)]
        for path in paths:
            pixels = np.random.default_rng(0).integers(0, 256, (crop + 64, crop + 64, 3), np.uint8)
            Image.fromarray(pixels).save(path)
        return Photos(paths, crop, device)


def flops(model: str, crop: int) -> float:
    """Floating-point operations of a training step a crop, matrix products alone."""
    cpu = torch.device("cpu")  # counted where no kernel of ours hides products from the counter
    trainer = Trainer(preset(model), TrainOptions(crop=crop, batch=1), cpu)
    photos = data_of(noise(cpu, crop), crop)
    with FlopCounterMode(display=False) as counter:
        trainer.train_step(photos)
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
    """FLOP/s of a large product, the best of ten."""
    size = 8192 if device.type == "cuda" else 2048
    a, b = torch.randn(2, size, size, device=device, dtype=torch.bfloat16 if bf16 else torch.float)
    a @ b
    return 2 * size**3 / min(seconds(lambda: a @ b, 1, device) for _ in range(10))


if __name__ == "__main__":
    main()
