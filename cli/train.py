"""`ticodec train`: train a network, resume a run, anneal a copy of the network for export.

The options of the training itself are the fields of `TrainOptions`.
"""

from __future__ import annotations

import sys
import time
from dataclasses import fields
from functools import partial
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
from .flags import flags_named, with_flags
from .help_pages import (
    CLASSIFIER,
    DATA,
    END,
    ICAT,
    LEARNING,
    MACHINE,
    NETWORK,
    OUTPUT,
    examples,
)
from .output import Device

#: The presets that `--model` takes without `--head`: codecs, and classifiers of pixels.
NAMES = (*PRESETS, *VITS)
MODEL_HELP = (
    f"Network to train: {', '.join(NAMES)}. With --head, the weights whose files the classifier "
    "reads. \\[default: the model of --init, else tic-lite; with --head the default weights]"
)
#: The fields of `TrainOptions` and `PartOptions` in each group. Other fields of `TrainOptions` are
#: in the group "Learning".
MEMBERS = {
    DATA: ("crop", "shrink", "augment", "smallest", "views", "enlarge"),
    NETWORK: ("quality_range", "freeze"),
    CLASSIFIER: ("smoothing", "teacher"),
    ICAT: ("step", "ratio"),
    OUTPUT: tuple(entry.name for entry in fields(PartOptions)),
    END: tuple(entry.name for entry in fields(Limits)),
}
GROUPS = dict.fromkeys(OPTIONS, LEARNING) | {
    name: group for group, names in MEMBERS.items() for name in names
}
EXAMPLES = examples(
    (
        "Train the fast model on a folder of photos, for ten minutes in all.",
        "ticodec train --data PHOTOS --minutes 10",
    ),
    (
        "Go on with a run that has ended.",
        "ticodec train --data PHOTOS --resume runs/tic-lite/trunk.pt",
    ),
    (
        "Train a classifier on a folder with one subfolder per class.",
        "ticodec train --head --model tic-lite --data MY_CLASSES --minutes 10",
    ),
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


@partial(with_fields, groups=GROUPS)
def train(
    data: Annotated[
        Path,
        typer.Option(
            "--data",
            metavar="DIR",
            help="Folder of photos. For icat, --head and vit: a folder with one subfolder per "
            "class.",
            rich_help_panel=DATA,
        ),
    ],
    options: Given[TrainOptions],
    limits: Given[Limits],
    part_options: Given[PartOptions],
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help=MODEL_HELP, rich_help_panel=NETWORK),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder for checkpoints. "
            "\\[default: runs/MODEL, or the folder of the resumed run]",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            "-f",
            help="Replace the checkpoints of another run in --out.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume",
            metavar="FILE",
            help="Continue the run that wrote this trunk.pt.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            "--init",
            metavar="NAME",
            help="Start from the installed weights of this name, or from a file of weights.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    head: Annotated[
        bool,
        typer.Option(
            "--head",
            help="Train a classifier on the latents of --model's weights.",
            rich_help_panel=CLASSIFIER,
        ),
    ] = False,
    vit: Annotated[
        str | None,
        typer.Option(
            "--vit",
            metavar="NAME",
            help="Size of the classifier that --head trains: vit or vit-lite.",
            rich_help_panel=CLASSIFIER,
        ),
    ] = None,
    lmbda: Annotated[
        float | None,
        typer.Option(
            "--lmbda",
            help="Train for one fixed λ only, as the papers do.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    activation: Annotated[
        str | None,
        typer.Option(
            "--activation",
            metavar="NAME",
            help="gdn, leaky_relu or none, instead of the preset's activation.",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    aggregation: Annotated[
        bool,
        typer.Option(
            help="Reconstruct from the features of the classifier's first blocks too.",
            rich_help_panel=ICAT,
        ),
    ] = True,
    compile: Annotated[
        bool,
        typer.Option(
            help="Use torch.compile. It saves time on a GPU only.", rich_help_panel=MACHINE
        ),
    ] = False,
    device: Device = "auto",
) -> None:
    """Train a codec on a folder of photos, or a classifier on a folder of classes.

    It runs until it is stopped, unless an option says when it ends. Then `ticodec export` makes a
    weights file from a checkpoint.
    """
    began = time.monotonic()  # before torch is imported, which takes seconds
    from rich.console import Console

    from ticodec.device import pick_device
    from ticodec.errors import UsageError
    from ticodec.training.distributed import together
    from ticodec.training.loop import run
    from ticodec.training.request import Request
    from ticodec.training.run_folder import claimed, folder_of, next_command
    from ticodec.training.run_log import notes_on
    from ticodec.training.start import start

    with flags_named(FLAGS), together() as ranks:
        if lmbda is not None and "quality_range" in options:
            raise UsageError("give either `lmbda` or `quality_range`")
        ends, parts = Limits(**limits), PartOptions(**part_options)
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
        for note in notes_on(trainer, folder) if ranks.first else ():
            print(f"ticodec: note: {with_flags(note, FLAGS)}", file=sys.stderr)
