"""`ticodec train`: train a network, resume it, anneal a copy for export.

The options of the training itself are the fields of `TrainOptions`.
"""

from __future__ import annotations

import time
from dataclasses import fields
from pathlib import Path
from typing import Annotated

import typer

from ticodec.models.config import VITS
from ticodec.models.families import PRESETS
from ticodec.shown import shown
from ticodec.training.options import OPTIONS, TrainOptions
from ticodec.training.parts import PartOptions
from ticodec.training.schedule import Limits

from .dataclass_options import Given, with_fields
from .flags import flags_named
from .output import Device

#: What `--model` takes where no weights are meant: codecs, and classifiers of pixels.
NAMES = (*PRESETS, *VITS)
MODEL_HELP = (
    f"Preset: {', '.join(NAMES)}. \\[default: the model of --init, else tic-lite; "
    "with --head the default weights]"
)
#: Arguments of `Request` and of this command whose flag has the same name.
ARGUMENTS = (
    "data",
    "model",
    "out",
    "force",
    "resume",
    "init",
    "head",
    "vit",
    "lmbda",
    "activation",
)
FLAGS = {"aggregation": "--no-aggregation"}
LIMITS = [entry.name for entry in (*fields(Limits), *fields(PartOptions))]
FLAGS |= {name: f"--{name.replace('_', '-')}" for name in (*ARGUMENTS, *OPTIONS, *LIMITS)}


@with_fields
def train(
    data: Annotated[
        Path,
        typer.Option(
            "--data", help="Folder of images; for icat, --head and vit a folder of classes."
        ),
    ],
    options: Given[TrainOptions],
    limits: Given[Limits],
    left: Given[PartOptions],
    model: Annotated[
        str | None,
        typer.Option("--model", help=MODEL_HELP),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="\\[default: runs/MODEL, or the folder of the resumed run]"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace the checkpoints of another run in --out.")
    ] = False,
    resume: Annotated[
        Path | None, typer.Option("--resume", help="Continue from a trunk.pt.")
    ] = None,
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
    lmbda: Annotated[
        float | None, typer.Option("--lmbda", help="Train for one fixed λ only, as the papers do.")
    ] = None,
    activation: Annotated[
        str | None,
        typer.Option("--activation", help="gdn, leaky_relu or none, instead of the preset's."),
    ] = None,
    aggregation: Annotated[
        bool, typer.Option(help="icat: reconstruct from the first blocks too.")
    ] = True,
    compile: Annotated[bool, typer.Option(help="Use torch.compile (worth it on a GPU).")] = False,
    device: Device = "auto",
) -> None:
    """Train a codec on a folder of photos, or icat or a classifier on a folder of classes."""
    began = time.monotonic()  # importing torch takes seconds, too
    from rich.console import Console

    from ticodec.device import pick_device
    from ticodec.errors import UsageError
    from ticodec.training.distributed import together
    from ticodec.training.loop import run
    from ticodec.training.request import Request
    from ticodec.training.run_folder import claimed, folder_of, next_command
    from ticodec.training.start import start

    with flags_named(FLAGS), together() as ranks:
        if lmbda is not None and "quality_range" in options:
            raise UsageError("give either `lmbda` or `quality_range`")
        ends, parts = Limits(**limits), PartOptions(**left)
        request = Request(
            data,
            model,
            options,
            ranks.device_of(pick_device(device)),
            resume=resume,
            init=init,
            head=head,
            vit=vit,
            lmbda=lmbda,
            activation=activation,
            aggregation=aggregation,
            compile=compile,
        )
        trainer = start(request)
        folder = folder_of(request, trainer, out)
        console = Console(quiet=not ranks.first)
        with claimed(folder, request, trainer, force, ranks):
            made = run(trainer, data, folder, ends, console, ranks, parts, began)
        line = f"wrote {made}; next: {next_command(made, data, trainer)}"
        console.print(shown(line), markup=False, emoji=False, highlight=False, soft_wrap=True)
