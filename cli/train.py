"""`ticodec train`: train a network, resume it, anneal a copy for export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .output import Device


def train(
    data: Annotated[
        Path, typer.Option("--data", help="Folder of images; of classes for icat, --head, vit.")
    ],
    model: Annotated[
        str | None,
        typer.Option("--model", help="Preset: tic, icat, vit, … \\[default: tic-lite]"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="\\[default: runs/MODEL; the folder of what is resumed]"),
    ] = None,
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
        str | None,
        typer.Option("--init", help="Start from installed weights of that name, or from a file."),
    ] = None,
    head: Annotated[
        bool, typer.Option("--head", help="Train a classifier on the latents of --model's weights.")
    ] = False,
    vit: Annotated[
        str | None, typer.Option("--vit", help="Size of that classifier: vit or vit-lite.")
    ] = None,
    step: Annotated[
        int | None,
        typer.Option("--step", help="icat: 1 without quantisation, 2 with it. \\[default: 2]"),
    ] = None,
    ratio: Annotated[
        float | None, typer.Option("--ratio", help="icat: α/β. \\[default: 100]")
    ] = None,
    aggregation: Annotated[
        bool, typer.Option(help="icat: reconstruct from the first blocks too.")
    ] = True,
    augment: Annotated[
        str | None,
        typer.Option(help="Of labelled images: full, mild, none. \\[default: full; step 2: mild]"),
    ] = None,
    smallest: Annotated[
        float | None,
        typer.Option(help="Least part of a labelled image to crop. \\[default: 0.08]"),
    ] = None,
    smoothing: Annotated[float | None, typer.Option(help="Of labels. \\[default: 0.1]")] = None,
    views: Annotated[
        int | None,
        typer.Option(help="--head: encode so many views once, not one a step. \\[default: 0]"),
    ] = None,
    enlarge: Annotated[
        int | None,
        typer.Option(help="--head: learn from images 2 or 4 times as large, too. \\[default: 1]"),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(help="--head, vit: learn what this one (a name or a file) answers, too."),
    ] = None,
    crop: Annotated[
        int | None, typer.Option(help="Crop side. \\[default: 256; labelled: 224]")
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(help="Crops a step and process. \\[default: 8; labelled: 32, step 2: 16]"),
    ] = None,
    lr: Annotated[
        float | None, typer.Option(help="Learning rate. \\[default: 1e-4; labelled: 1e-3]")
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help="AdamW's. \\[default: 0; labelled: 0.05, step 2: 0]")
    ] = None,
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
    """Train a codec on a folder of photos, or icat or a classifier on a folder of classes."""
    from rich.console import Console

    from ticodec.codec import pick_device
    from ticodec.errors import UsageError
    from ticodec.training import start
    from ticodec.training.distributed import together
    from ticodec.training.loop import Limits, run

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
        "weight_decay": weight_decay,
        "step": step,
        "ratio": ratio,
        "smoothing": smoothing,
        "augment": augment,
        "smallest": smallest,
        "views": views,
        "enlarge": enlarge,
        "teacher": teacher,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    with together() as ranks:
        if lmbda is not None and quality_range is not None:
            raise UsageError("give either --lmbda or --quality-range")
        place = ranks.place(pick_device(device))
        if resume is not None:
            fixed = {
                "model": model,
                "lmbda": lmbda,
                "activation": activation,
                "init": init,
                "vit": vit,
            }
            fixed |= {"head": head or None, "no-aggregation": None if aggregation else True}
            _without("--resume", **fixed, optimizer=optimizer, seed=seed, step=step)
            trainer = start.resume(resume, place, compile, changes)
        else:
            fields: dict[str, Any] = {}
            if lmbda is not None:
                fields["lambdas"] = (lmbda,)
            if activation is not None:
                fields["activation"] = activation
                fields["hyper_activation"] = "none" if activation == "none" else "leaky_relu"
            if not aggregation:
                fields["aggregation"] = False
            more: dict[str, Any] = {"init": init, "head": head, "vit": vit, "compile": compile}
            trainer = start.start(data, model, changes, place, fields=fields, **more)
        default = Path("runs") / _named(model, trainer.config.to_dict(), trainer.options.step)
        folder = out or (resume.parent if resume else default)
        for used in (init or "", trainer.options.teacher):
            file = Path(used)
            if file.suffix == ".pt" and file.resolve().parent == folder.resolve():
                raise UsageError(f"{folder} is where {used} is, which it would replace; give --out")
        limits = Limits(max_minutes, max_steps, anneal_minutes)
        console = Console(quiet=not ranks.first)
        made = run(trainer, data, folder, limits, console, ranks)
        following = f"export {made}"
        if trainer.kind == "icat" and trainer.options.step == 1:
            following = f"train --step 2 --init {made} --data {data}"
        console.print(f"wrote {made}; next: ticodec {following}", markup=False, soft_wrap=True)


def _named(model: str | None, config: dict[str, Any], step: int | None) -> str:
    """The folder of a run that was given none: the preset's name, or what is trained."""
    if config.get("stem") == "latents":
        return f"{config['codec']}-head"
    name = model or config.get("model") or "vit"
    return f"{name}-step1" if step == 1 and name.startswith("icat") else name


def _without(option: str, **others: object) -> None:
    """Refuse options that another one makes meaningless, instead of ignoring them."""
    from ticodec.errors import UsageError

    given = ", ".join(f"--{name}" for name, value in others.items() if value is not None)
    if given:
        raise UsageError(f"{option} brings what {given} would set; leave that away")
