"""A training run from the outside: time limits, progress bar, logs, checkpoints, annealing."""

from __future__ import annotations

import csv
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ticodec.errors import BadInputError
from ticodec.images import list_images, make_folder

from .data import Photos, split
from .trainer import CALIBRATION, CALIBRATION_SIZE, Trainer, psnr

SAVE_SECONDS = 240
LOG_STEPS = 50
VALIDATE_SECONDS = 300
VALIDATION_IMAGES = 16
VALIDATION_QUALITIES = (1.0, 3.0, 5.0, 8.0)


@dataclass
class Limits:
    """When a run stops: whichever comes first; None is no limit. Minutes of annealing follow."""

    minutes: float | None = None
    steps: int | None = None
    anneal_minutes: float = 0.0


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C and SIGTERM into a flag, so that a run ends with its checkpoint written."""
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True

    old = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def load_photos(trainer: Trainer, folder: Path, console: Console) -> tuple[Photos, torch.Tensor]:
    """Training photos, and validation crops (n, 256, 256, 3); the trainer keeps a few of them."""
    training, held = split(list_images(folder))
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("decoding images", total=len(training) + len(held))
        tick = lambda: bar.advance(task)  # noqa: E731
        photos = Photos(training, trainer.options.crop, trainer.device, tick)
        size = CALIBRATION_SIZE
        try:
            validation = Photos(held, size, trainer.device, tick)
        except BadInputError:  # few or small photos: better a look at them than none
            validation, size = photos, trainer.options.crop
    console.print(
        f"{len(photos)} photos to train on, {len(validation)} held out, "
        f"{photos.left_out} left out (too small or unreadable)"
    )
    crops = validation.centres(size)
    if trainer.calibration is None:
        trainer.calibration = (crops[:CALIBRATION] * 255).round().byte().cpu()
    return photos, crops[:VALIDATION_IMAGES]


def run(trainer: Trainer, data: Path, out: Path, limits: Limits, console: Console) -> Path:
    """Train until a limit or a signal; returns the checkpoint to export.

    Writes `trunk.pt` (resume it), `annealed.pt` (export it, when annealing was asked
    for), `log.csv` and `validation.csv` under `out`.
    """
    make_folder(out)
    photos, validation = load_photos(trainer, data, console)
    names = ("crop", "batch", "lr", "warmup", "optimizer", "balance", "shrink", "seed")
    facts = {"device": device_name(trainer.device)}
    facts |= {name: getattr(trainer.options, name) for name in names}
    with stop_signals() as stopped:
        trainer.begin_run(facts)
        loop(trainer, photos, validation, out, limits, stopped, console)
        trainer.save(out / "trunk.pt")
        if not limits.anneal_minutes or stopped():
            return out / "trunk.pt"
        trainer.begin_run({**facts, "annealed": 0.0})
        anneal(trainer, photos, validation, out, limits.anneal_minutes, stopped, console)
        trainer.save(out / "annealed.pt")
    return out / "annealed.pt"


def loop(
    trainer: Trainer,
    photos: Photos,
    validation: torch.Tensor,
    out: Path,
    limits: Limits,
    stopped: Callable[[], bool],
    console: Console,
) -> None:
    """The stable phase: step, log, validate and save until a limit or a signal."""
    started = saved = validated = time.monotonic()
    log = Log(trainer, out, console)
    with log:
        while not stopped():
            minutes = (time.monotonic() - started) / 60
            if limits.minutes is not None and minutes >= limits.minutes:
                break
            if limits.steps is not None and trainer.step >= limits.steps:
                break
            log.record(trainer.train_step(photos), "training")
            if time.monotonic() - saved > SAVE_SECONDS:
                trainer.save(out / "trunk.pt")
                saved = time.monotonic()
            if time.monotonic() - validated > VALIDATE_SECONDS:
                log.validate(validation)
                validated = time.monotonic()


def anneal(
    trainer: Trainer,
    photos: Photos,
    validation: torch.Tensor,
    out: Path,
    minutes: float,
    stopped: Callable[[], bool],
    console: Console,
) -> None:
    """Let the learning rate fall to zero within `minutes`; the trunk on disk stays as it is."""
    with Log(trainer, out, console) as log:
        log.record(trainer.train_step(photos), "annealing")  # compiles, where that is asked for
        started = time.monotonic()
        while not stopped():
            part = (time.monotonic() - started) / 60 / minutes
            if part >= 1:
                break
            log.record(trainer.train_step(photos, part), "annealing")
            trainer.facts["annealed"] = round(part, 3)
        log.validate(validation)


class Log:
    """The progress bar and the two CSV files of a run."""

    def __init__(self, trainer: Trainer, out: Path, console: Console) -> None:
        self.trainer, self.out, self.console = trainer, out, console
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            TextColumn("{task.fields[stats]}"),
            console=console,
        )
        self.task = self.bar.add_task("starting", total=None, stats="")
        self.sums = torch.zeros(3, device=trainer.device)  # read once in LOG_STEPS
        self.count, self.crops, self.since = 0, trainer.crops, time.monotonic()

    def __enter__(self) -> Log:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def record(self, loss: tuple[torch.Tensor, ...], phase: str) -> None:
        """Take one step's numbers; every LOG_STEPS steps show their mean and write a row."""
        self.sums += torch.stack([part.detach().float() for part in loss])
        self.count += 1
        if self.count < LOG_STEPS:
            return
        value, bpp, mse = (self.sums / self.count).tolist()
        t = self.trainer
        speed = (t.crops - self.crops) / (time.monotonic() - self.since)
        stats = (
            f"step {t.step}  {speed:.1f} crops/s  loss {value:.3f}  "
            f"{bpp:.3f} bpp  {psnr(mse):.2f} dB  skipped {int(t.skipped)}"
        )
        self.bar.update(self.task, description=phase, stats=stats)
        row = [
            phase,
            t.step,
            t.crops,
            f"{t.seconds:.0f}",
            f"{t.optimizer.lr:.2e}",
        ]
        row += [f"{value:.4f}", f"{bpp:.4f}", f"{psnr(mse):.3f}", f"{speed:.1f}", int(t.skipped)]
        header = "phase,step,crops,seconds,lr,loss,bpp,psnr,crops_per_second,skipped"
        append(self.out / "log.csv", header, row)
        self.sums.zero_()
        self.count, self.crops, self.since = 0, t.crops, time.monotonic()

    def validate(self, images: torch.Tensor) -> None:
        """Estimate rate and distortion of the averaged weights on held-out crops."""
        t = self.trainer
        shown = []
        for quality in VALIDATION_QUALITIES:
            if quality > t.config.levels:
                continue
            bpp, db = t.validate(images, quality)
            shown.append(f"q{quality:g} {bpp:.3f} bpp {db:.2f} dB")
            row = [t.step, t.crops, f"{quality:g}", f"{bpp:.4f}", f"{db:.3f}"]
            append(self.out / "validation.csv", "step,crops,quality,bpp,psnr", row)
        self.console.print(f"step {t.step}, held-out estimate: " + ", ".join(shown))


def append(path: Path, header: str, row: list[object]) -> None:
    """Add a row to a CSV file, with its header when the file is new."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        if new:
            file.write(header + "\n")
        csv.writer(file, lineterminator="\n").writerow(row)


def device_name(device: torch.device) -> str:
    """A GPU's name, or how many CPU threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"
