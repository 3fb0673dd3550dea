"""`ticodec train`: train a network, resume it, anneal a copy for export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .show import Device


def train(
    data: Annotated[Path, typer.Option("--data", help="Folder of images, searched below.")],
    model: Annotated[
        str | None,
        typer.Option("--model", help="Preset: tic, tic-plus, tic-high, … \\[default: tic-lite]"),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="\\[default: runs/MODEL]")] = None,
    quality_range: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--quality-range", help="Train these qualities of one network. \\[default: 1 8]"
        ),
    ] = None,
    lmbda: Annotated[
        float | None, typer.Option("--lmbda", help="One fixed λ instead, as the papers train.")
    ] = None,
    activation: Annotated[
        str | None, typer.Option("--activation", help="gdn, leaky_relu or none, for the preset's.")
    ] = None,
    max_minutes: Annotated[float | None, typer.Option("--max-minutes")] = None,
    max_steps: Annotated[int | None, typer.Option("--max-steps")] = None,
    anneal_minutes: Annotated[
        float, typer.Option("--anneal-minutes", help="Then let the rate of a copy fall to 0.")
    ] = 0.0,
    resume: Annotated[Path | None, typer.Option("--resume", help="Go on from a trunk.pt.")] = None,
    init: Annotated[
        str | None, typer.Option("--init", help="Start from installed weights of that name.")
    ] = None,
    crop: Annotated[int | None, typer.Option(help="Crop side. \\[default: 256]")] = None,
    batch: Annotated[int | None, typer.Option(help="Crops a step. \\[default: 8]")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate. \\[default: 1e-4]")] = None,
    warmup: Annotated[int | None, typer.Option(help="Warm-up steps. \\[default: 200]")] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="adam, or muon for the matrices. \\[default: adam]")
    ] = None,
    balance: Annotated[
        float | None,
        typer.Option(help="Divide the loss by λ to this power, 0 to 1. \\[default: 0.4]"),
    ] = None,
    shrink: Annotated[
        float | None,
        typer.Option(help="Shrink photos by up to this before cropping. \\[default: 1]"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="\\[default: 0]")] = None,
    compile: Annotated[bool, typer.Option(help="Use torch.compile (worth it on a GPU).")] = False,
    device: Device = "auto",
) -> None:
    """Train a network on a folder of photos."""
    from rich.console import Console

    from ticodec.codec import pick_device
    from ticodec.errors import UsageError
    from ticodec.weights.training.options import TrainOptions
    from ticodec.weights.training.run import Limits, run
    from ticodec.weights.training.trainer import Trainer

    given: dict[str, Any] = {
        "crop": crop,
        "batch": batch,
        "lr": lr,
        "warmup": warmup,
        "seed": seed,
        "optimizer": optimizer,
        "balance": balance,
        "shrink": shrink,
        "quality_range": quality_range,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    if lmbda is not None and quality_range is not None:
        raise UsageError("give either --lmbda or --quality-range")
    place = pick_device(device)
    if resume is not None:
        fixed = {"model": model, "lmbda": lmbda, "activation": activation, "init": init}
        _without("--resume", **fixed, optimizer=optimizer, seed=seed)
        trainer = Trainer.resume(resume, place, compile, **changes)
    else:
        config, weights, history = _network(model, lmbda, activation, init)
        options = TrainOptions(**changes)
        trainer = Trainer(config, options, place, weights, compile, history)
    folder = out or Path("runs") / trainer.config.model
    limits = Limits(max_minutes, max_steps, anneal_minutes)
    console = Console()
    made = run(trainer, data, folder, limits, console)
    console.print(f"wrote {made}; next: ticodec export {made}")


def _without(option: str, **others: object) -> None:
    """Refuse options that another one makes meaningless, instead of ignoring them."""
    from ticodec.errors import UsageError

    given = ", ".join(f"--{name}" for name, value in others.items() if value is not None)
    if given:
        raise UsageError(f"{option} brings what {given} would set; leave that away")


def _network(
    model: str | None, lmbda: float | None, activation: str | None, init: str | None
) -> Any:
    """(config, float weights or None, their history) of a run that starts anew."""
    from ticodec import weights
    from ticodec.errors import UsageError
    from ticodec.models.config import ModelConfig, preset

    try:
        if init is not None:
            _without("--init", model=model, lmbda=lmbda, activation=activation)
            entry = weights.find(init)
            fields, tensors = weights.read(entry)
            floats = {k[6:]: v.float() for k, v in tensors.items() if k.startswith("float.")}
            return ModelConfig.from_dict(fields), floats, entry.history
        changes: dict[str, Any] = {}
        if lmbda is not None:
            changes["lambdas"] = (lmbda,)
        if activation is not None:
            changes["activation"] = activation
            changes["hyper_activation"] = "none" if activation == "none" else "leaky_relu"
        return preset(model or "tic-lite", **changes), None, ()
    except ValueError as error:
        raise UsageError(str(error)) from error
