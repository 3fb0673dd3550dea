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
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ticodec.files import make_folder
from ticodec.psnr import psnr_of_mse

from .distributed import ALONE, Ranks
from .trainer import AnyTrainer

SAVE_SECONDS = 240
LOG_STEPS = 50
VALIDATE_SECONDS = 300


@dataclass
class Limits:
    """When a run stops: whichever comes first; None is no limit. Minutes of annealing follow."""

    minutes: float | None = None
    steps: int | None = None
    anneal_minutes: float = 0.0

    def reached(self, minutes: float, steps: int) -> bool:
        """Whether the stable phase ends after these."""
        long = self.minutes is not None and minutes >= self.minutes
        return long or (self.steps is not None and steps >= self.steps)


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


def load_data(trainer: AnyTrainer, folder: Path, console: Console) -> Any:
    """The trainer's data of a folder, under a progress bar."""
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("decoding images", total=None)

        def tick(total: int) -> None:
            bar.update(task, total=total, advance=1)

        data, line = trainer.load_data(folder, tick)
    console.print(line)
    return data


def run(
    trainer: AnyTrainer,
    data: Path,
    out: Path,
    limits: Limits,
    console: Console,
    ranks: Ranks = ALONE,
) -> Path:
    """Train until a limit or a signal; returns the checkpoint to export.

    Writes `trunk.pt` (resume it), `annealed.pt` (export it, when annealing was asked
    for), `log.csv` and `validation.csv` under `out`. Of several `ranks` the first writes.
    A signal to one of them, or the clock of one, ends the run of all at the same step.
    """
    if ranks.first:
        make_folder(out)
    trainer.ranks = ranks
    loaded = load_data(trainer, data, console)
    trainer.share()
    facts: dict[str, Any] = {"device": device_name(trainer.device)}
    if ranks.world > 1:
        facts = {"device": f"{ranks.world} × {facts['device']}", "processes": ranks.world}
    facts |= trainer.recorded_options()
    with stop_signals() as stopped:
        trainer.begin_run(facts)
        loop(trainer, loaded, out, limits, stopped, console)
        conclude(trainer, loaded, out / "trunk.pt", console)
        if not limits.anneal_minutes or ranks.largest(stopped()):
            return out / "trunk.pt"
        trainer.begin_run({**facts, "annealed": 0.0})
        anneal(trainer, loaded, out, limits.anneal_minutes, stopped, console)
        conclude(trainer, loaded, out / "annealed.pt", console)
    return out / "annealed.pt"


def conclude(trainer: AnyTrainer, data: Any, path: Path, console: Console) -> None:
    """Write a checkpoint that can be exported; first as it is, lest anything is lost."""
    trainer.save(path)
    if line := trainer.finish(data):
        console.print(line)
        trainer.save(path)


def loop(
    trainer: AnyTrainer,
    data: Any,
    out: Path,
    limits: Limits,
    stopped: Callable[[], bool],
    console: Console,
) -> None:
    """The stable phase: step, log, validate and save until a limit or a signal."""
    started = saved = validated = time.monotonic()

    def ended() -> bool:
        return stopped() or limits.reached((time.monotonic() - started) / 60, trainer.step)

    log = Log(trainer, out, console)
    with log:
        while not trainer.ranks.largest(ended()):
            log.record(trainer.train_step(data), "training")
            if time.monotonic() - saved > SAVE_SECONDS:
                trainer.save(out / "trunk.pt")
                saved = time.monotonic()
            if time.monotonic() - validated > VALIDATE_SECONDS:
                log.validate(data)
                validated = time.monotonic()


def anneal(
    trainer: AnyTrainer,
    data: Any,
    out: Path,
    minutes: float,
    stopped: Callable[[], bool],
    console: Console,
) -> None:
    """Let the learning rate fall to zero within `minutes`; the trunk on disk stays as it is."""
    with Log(trainer, out, console) as log:
        log.record(trainer.train_step(data), "annealing")  # compiles, where that is asked for
        started = time.monotonic()
        while True:
            part = 1.0 if stopped() else (time.monotonic() - started) / 60 / minutes
            part = trainer.ranks.largest(part)
            if part >= 1:
                break
            log.record(trainer.train_step(data, part), "annealing")
            trainer.facts["annealed"] = round(part, 3)
        log.validate(data)


class Log:
    """The progress bar and the two CSV files of a run; of several ranks, the first one's."""

    def __init__(self, trainer: AnyTrainer, out: Path, console: Console) -> None:
        self.trainer, self.out, self.console = trainer, out, console
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            TextColumn("{task.fields[stats]}"),
            console=console,
        )
        self.task = self.bar.add_task("starting", total=None, stats="")
        self.sums = torch.zeros(len(trainer.columns), device=trainer.device)  # read seldom
        self.count, self.crops, self.since = 0, trainer.crops, time.monotonic()

    def __enter__(self) -> Log:
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def record(self, loss: tuple[torch.Tensor, ...], phase: str) -> None:
        """Take one step's numbers; every LOG_STEPS steps show their mean and write a row."""
        if not self.trainer.ranks.first:
            return
        self.sums += torch.stack([part.detach().float() for part in loss])
        self.count += 1
        if self.count < LOG_STEPS:
            return
        t = self.trainer
        means = dict(zip(t.columns, (self.sums / self.count).tolist(), strict=True))
        shown = "  ".join(shown_as(name, value) for name, value in means.items())
        speed = (t.crops - self.crops) / (time.monotonic() - self.since)
        stats = f"step {t.step}  {speed:.1f} crops/s  {shown}  skipped {int(t.skipped)}"
        self.bar.update(self.task, description=phase, stats=stats)
        row = [phase, t.step, t.crops, f"{t.seconds:.0f}", f"{t.optimizer.lr:.2e}"]
        if "mse" in means:
            means["psnr"] = psnr_of_mse(means.pop("mse"))
        row += [f"{value:.4f}" for value in means.values()]
        row += [f"{speed:.1f}", int(t.skipped)]
        header = f"phase,step,crops,seconds,lr,{','.join(means)},crops_per_second,skipped"
        append(self.out / "log.csv", header, row)
        self.sums.zero_()
        self.count, self.crops, self.since = 0, t.crops, time.monotonic()

    def validate(self, data: Any) -> None:
        """Show and keep how good the averaged weights are on what was held out."""
        t = self.trainer
        if not t.ranks.first:
            return
        rows = t.validate(data)
        for row in rows:
            header = ",".join(["step", "crops", *row])
            append(self.out / "validation.csv", header, [t.step, t.crops, *row.values()])
        shown = "; ".join(" ".join(f"{k} {v:g}" for k, v in row.items()) for row in rows)
        self.console.print(f"step {t.step}, held-out estimate: {shown}")


def shown_as(name: str, value: float) -> str:
    """A scalar for the progress bar."""
    if name == "mse":
        return f"{psnr_of_mse(value):.2f} dB"
    return f"{value:.3f} bpp" if name == "bpp" else f"{name} {value:.3f}"


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
