"""What a run shows and records: a progress bar, `log.csv`, `validation.csv`.

    log.csv          means of some steps: of the training batches, with the weights of that moment
    validation.csv   the averaged weights on what was held out

Both have `bpp`, the rate with noise that is learned, and behind it `bpp_rounded`, the rate of
rounded latents: noise costs bits that rounding does not, so the former is far above a file's. With
frozen transforms there is `bpp` alone, of rounded latents; in `validation.csv` of whole streams.
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

LOG_STEPS = 50
#: Columns that stand behind all others, where they disturb no reader of those that were first.
LAST = ("bpp_rounded",)


class Log:
    """The progress bar and the two CSV files of a run; of several ranks, the first one's."""

    def __init__(self, trainer: AnyTrainer, out: Path, console: Console) -> None:
        self.trainer, self.out, self.console = trainer, out, console
        self.bar = progress_bar(console)
        self.sums = torch.zeros(len(trainer.columns), device=trainer.device)  # read seldom

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A phase of the run, within which steps are recorded, with a bar of its own."""
        self.name, self.task = name, self.bar.add_task(name, total=None, stats="")
        self.restart()
        self.bar.start()
        try:
            yield
        finally:
            self.bar.stop()
            self.bar.remove_task(self.task)

    def restart(self) -> None:
        """Begin a new mean."""
        self.sums.zero_()
        self.count, self.crops, self.since = 0, self.trainer.crops, time.monotonic()

    def record(self, loss: tuple[torch.Tensor, ...]) -> None:
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
        append(self.out / "log.csv", cells)
        self.restart()

    def validate(self, data: Any) -> None:
        """Show and keep how good the averaged weights are on what was held out."""
        t = self.trainer
        if not t.ranks.first:
            return
        rows = t.validate(data)
        for row in rows:
            append(self.out / "validation.csv", {"step": t.step, "crops": t.crops, **row})
        shown = "; ".join(" ".join(f"{k} {v:g}" for k, v in row.items()) for row in rows)
        self.console.print(f"step {t.step}, held-out estimate: {shown}")


def progress_bar(console: Console) -> Progress:
    """A phase's name, time and `stats`, which take several lines where the window is narrow."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        TextColumn("{task.fields[stats]}", table_column=Column(no_wrap=False)),
        console=console,
    )


def shown_as(name: str, value: float) -> str:
    """A scalar for the progress bar."""
    if name == "mse":
        return f"{psnr_of_mse(value):.2f} dB"
    if name == "bpp_rounded":
        return f"{value:.3f} bpp rounded"
    return f"{value:.3f} bpp" if name == "bpp" else f"{name} {value:.3f}"


def append(path: Path, cells: dict[str, Any]) -> None:
    """Add a row to a CSV file, with its header when the file is new.

    A file that an earlier version began gets the header of the columns that it lacks.
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
