"""Runs a training: its phases, and when each of them writes.

load data, compile ─► stable phase ─► trunk.pt ─► annealing ─► annealed.pt
                      └──── log.csv, validation.csv, parts ─────┘
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress

from ticodec.errors import TicodecError
from ticodec.files import make_folder

from .attention_kernels import compile_all
from .distributed import ALONE, Ranks
from .parts import PARTS, PartOptions
from .run_folder import ANNEALED, TRUNK
from .run_log import Log
from .schedule import Limits, Schedule
from .snapshots import Snapshots
from .trainer import AnyTrainer

#: In the stable phase: seconds from one checkpoint, or one validation, to the next.
SAVE_SECONDS = 240
VALIDATE_SECONDS = 300


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Turn Ctrl-C and SIGTERM into a flag, so that a run can write its checkpoint and then end.

    Yields a function that returns whether there was a signal.
    """
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
    """Load the trainer's data from a folder, with a progress bar."""
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("loading images", total=None)

        def tick(total: int) -> None:
            bar.update(task, total=total, advance=1)

        data, line = trainer.load_data(folder, tick)
    console.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)
    return data


def prepare(trainer: AnyTrainer, folder: Path, console: Console) -> Any:
    """Load the trainer's data and compile its training pass. Returns the data.

    While the pass is compiled, other processes decode photos and compile attention kernels.
    """
    ranks = trainer.ranks
    if ranks.local == 0:
        dtype = torch.bfloat16 if trainer.bf16 else torch.float32
        compile_all(trainer.network, trainer.device, dtype)
    with trainer.begin_loading(folder):
        if ranks.world == 1:
            warm_up(trainer, console)
        data = load_data(trainer, folder, console)
    trainer.share()
    if ranks.world > 1:  # only now: the compiled pass includes the exchange of gradients
        warm_up(trainer, console)
    return data


def warm_up(trainer: AnyTrainer, console: Console) -> None:
    """Compile the training pass, if the run asks for it."""
    if not trainer.compile:
        return
    started = time.monotonic()
    trainer.warm_up()
    console.print(f"compiled in {time.monotonic() - started:.0f} s")


def run(
    trainer: AnyTrainer,
    data: Path,
    out: Path,
    limits: Limits,
    console: Console,
    ranks: Ranks = ALONE,
    left: PartOptions = PartOptions(),  # noqa: B008  it cannot change
    began: float | None = None,
) -> Path:
    """Train until a limit or a signal. Returns the path of the checkpoint to export.

    It writes these files into `out`: `trunk.pt`, which can be resumed, `annealed.pt`, which can be
    exported, `log.csv` and `validation.csv`. There is an `annealed.pt` only if the run anneals, and
    a folder `parts` only if the run leaves weights in parts. Only the first of several `ranks`
    writes. A signal to one rank, or the clock of one rank, ends all ranks at the same step.

    Args:
        trainer: what to train.
        data: folder of images.
        out: folder of the run, which is made if it is missing.
        limits: when the run ends.
        console: where to print.
        ranks: the processes that train together.
        left: which weights to leave in parts during the run.
        began: `time.monotonic()` when the command began. `limits.minutes` count from there. None
            means now.

    Raises:
        TicodecError: `out` cannot be written, or the minutes are over before training can begin.
    """
    began = time.monotonic() if began is None else began
    if ranks.first:
        make_folder(out)
        if not os.access(out, os.W_OK):
            raise TicodecError(f"{out}: cannot be written: no permission")
    trainer.ranks = ranks
    loaded = prepare(trainer, data, console)
    facts: dict[str, Any] = {"device": device_name(trainer.device)}
    if ranks.world > 1:
        facts = {"device": f"{ranks.world} × {facts['device']}", "processes": ranks.world}
    facts |= trainer.recorded_options()
    snapshots = Snapshots(trainer, out / PARTS, left)
    log = Log(trainer, out, console)
    schedule = Schedule(limits, began)
    with stop_signals() as stopped:
        trainer.begin_run(facts)
        made = out / TRUNK
        with log.phase("training"):
            train(trainer, loaded, made, schedule, stopped, log, snapshots)
        started = time.monotonic()
        conclude(trainer, loaded, made, log, snapshots)
        # This validation is a part of the measured time, because annealing ends with one too.
        if limits.minutes is not None and not stopped():
            log.validate(loaded)
        if limits.anneals and not ranks.largest(stopped()):
            schedule.begin_annealing(time.monotonic() - started)
            trainer.begin_run({**facts, "annealed": 0.0})
            made = out / ANNEALED
            with log.phase("annealing"):
                anneal(trainer, loaded, schedule, stopped, log, snapshots)
            conclude(trainer, loaded, made, log, snapshots)
            if not stopped():
                log.validate(loaded)
        snapshots.finish()
    return made


def conclude(trainer: AnyTrainer, data: Any, path: Path, log: Log, snapshots: Snapshots) -> None:
    """End a phase and write a checkpoint that can be exported.

    A checkpoint is also written before `finish` runs, so that no step is lost if `finish` fails.
    """
    trainer.save(path)
    if line := trainer.finish(data):
        log.console.print(line)
        trainer.save(path)
    snapshots.leave()


def train(
    trainer: AnyTrainer,
    data: Any,
    path: Path,
    schedule: Schedule,
    stopped: Callable[[], bool],
    log: Log,
    snapshots: Snapshots,
) -> None:
    """The stable phase: take steps, log, validate and save until its end or a signal."""
    saved = validated = time.monotonic()

    def ended() -> bool:
        return stopped() or schedule.stable_ended(trainer.step)

    while not trainer.ranks.largest(ended()):
        log.record(trainer.train_step(data))
        snapshots.leave_if_due()
        if time.monotonic() - saved > SAVE_SECONDS:
            trainer.save(path)
            saved = time.monotonic()
        if time.monotonic() - validated > VALIDATE_SECONDS:
            log.validate(data)
            validated = time.monotonic()


def anneal(
    trainer: AnyTrainer,
    data: Any,
    schedule: Schedule,
    stopped: Callable[[], bool],
    log: Log,
    snapshots: Snapshots,
) -> None:
    """The annealing phase: the learning rate falls to 0. `trunk.pt` on disk does not change."""
    part = 0.0  # even the shortest annealing has one step
    while part < 1:
        log.record(trainer.train_step(data, part))
        trainer.facts["annealed"] = round(part, 3)
        snapshots.leave_if_due()
        part = trainer.ranks.largest(1.0 if stopped() else schedule.annealed())


def device_name(device: torch.device) -> str:
    """The name of a GPU, or "CPU" with the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"
