"""What a run shows and records: a progress bar, `log.csv` and `validation.csv`.

    log.csv          means over 50 steps, on the training batches, with the weights of each step;
                     a run of fewer steps writes none
    validation.csv   results of the averaged weights on the held-out data

Both files have two rates. `bpp` is the rate in the loss, where noise stands for rounding. Noise
takes bits that rounding does not take, so this rate is far above the rate of a file. `bpp_rounded`
is the rate of rounded latents. With frozen transforms there is only `bpp`, which then is the rate
of rounded latents in `log.csv`, and the rate of real streams in `validation.csv`.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column

from ticodec.psnr import psnr_of_mse

from .trainer import AnyTrainer

LOG = "log.csv"
LOG_STEPS = 50
#: Columns that come last, because older readers expect the other columns at their places.
LAST = ("bpp_rounded",)


class Log:
    """The progress bar and the two CSV files of a run. Only the first of several ranks has them."""

    def __init__(self, trainer: AnyTrainer, out: Path, console: Console) -> None:
        self.trainer, self.out, self.console = trainer, out, console
        self.bar = progress_bar(console)
        # On the device, because reading numbers in every step would make the CPU wait for a GPU.
        self.sums = torch.zeros(len(trainer.columns), device=trainer.device)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A context for one phase of the run. Steps are recorded in it, with a new progress bar."""
        self.name, self.task = name, self.bar.add_task(name, total=None, stats="")
        self.restart()
        self.bar.start()
        try:
            yield
        finally:
            self.bar.stop()
            self.bar.remove_task(self.task)

    def restart(self) -> None:
        """Start a new mean."""
        self.sums.zero_()
        self.count, self.crops, self.since = 0, self.trainer.crops, time.monotonic()

    def record(self, loss: tuple[torch.Tensor, ...]) -> None:
        """Add the numbers of one step. Every LOG_STEPS steps, show their mean and write a row."""
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
        self.bar.update(self.task, stats=stats)
        if "mse" in means:
            means["psnr"] = psnr_of_mse(means.pop("mse"))
        cells: dict[str, object] = {"phase": self.name, "step": t.step, "crops": t.crops}
        cells |= {"seconds": f"{t.seconds:.0f}", "lr": f"{t.optimizer.lr:.2e}"}
        cells |= {name: f"{value:.4f}" for name, value in means.items()}
        cells |= {"crops_per_second": f"{speed:.1f}", "skipped": int(t.skipped)}
        for name in LAST:
            if name in cells:
                cells[name] = cells.pop(name)
        append(self.out / LOG, cells)
        self.restart()

    def validate(self, data: Any) -> None:
        """Validate the averaged weights on the held-out data. Show and write the result."""
        t = self.trainer
        if not t.ranks.first:
            return
        rows = t.validate(data)
        for row in rows:
            append(self.out / "validation.csv", {"step": t.step, "crops": t.crops, **row})
        shown = "; ".join(" ".join(f"{k} {v:g}" for k, v in row.items()) for row in rows)
        self.console.print(f"step {t.step}, held-out estimate: {shown}")


def notes_on(trainer: AnyTrainer, out: Path) -> list[str]:
    """What the user should know about a run that took few steps. Empty if it took enough.

    Args:
        trainer: the trainer after the run.
        out: the folder of the run.
    """
    steps, warmup = trainer.step, trainer.options.warmup
    notes = []
    if 0 < steps < warmup:
        notes.append(
            f"the learning rate was still rising: the run ended after {steps} of {warmup} "
            f"warm-up steps; give `warmup` {max(1, steps * 2 // 5)} or train longer"
        )
    if not (out / LOG).exists():
        notes.append(
            f"there is no {LOG}: it gets a row after every {LOG_STEPS} steps of a phase, and no "
            "phase took that many"
        )
    return notes


def progress_bar(console: Console) -> Progress:
    """A bar with the name of a phase, its time, and `stats`, which wrap if the window is narrow."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        TextColumn("{task.fields[stats]}", table_column=Column(no_wrap=False)),
        console=console,
    )


def shown_as(name: str, value: float) -> str:
    """A scalar as text for the progress bar."""
    if name == "mse":
        return f"{psnr_of_mse(value):.2f} dB"
    if name == "bpp_rounded":
        return f"{value:.3f} bpp rounded"
    return f"{value:.3f} bpp" if name == "bpp" else f"{name} {value:.3f}"


def append(path: Path, cells: dict[str, Any]) -> None:
    """Add a row to a CSV file. A new file gets a header first.

    If an earlier version wrote the file with fewer columns, the header is extended.
    """
    header = ",".join(cells)
    if path.exists():
        before, _, rows = path.read_text().partition("\n")
        if header.startswith(f"{before},"):
            path.write_text(f"{header}\n{rows}")
    else:
        path.write_text(f"{header}\n")
    with path.open("a", newline="") as file:
        csv.writer(file, lineterminator="\n").writerow(cells.values())
