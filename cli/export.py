"""`ticodec export`: a checkpoint to a weights file that encodes and decodes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .show import Json, print_json, working


def export(
    source: Annotated[
        list[Path],
        typer.Argument(
            metavar="CKPT…",
            help="Checkpoint of `ticodec train`. Several of one network are averaged.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Weights folder. \\[default: the installed one]")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name for -m. \\[default: the model's]")
    ] = None,
    default: Annotated[bool, typer.Option("--default", help="Make it the default model.")] = False,
    as_json: Json = False,
) -> None:
    """Export a checkpoint: fp16 weights, integer tables, manifest entry and model card."""
    from ticodec.weights.store import SHIPPED, VARIABLE
    from ticodec.weights.training.export import export as export_checkpoint

    folder = out or SHIPPED
    with working(f"compiling {', '.join(map(str, source))}", as_json):
        entry = export_checkpoint(source, folder, name, default)
    facts = {
        "name": entry.name,
        "file": str(entry.path),
        "bytes": entry.path.stat().st_size,
        "weights": entry.fingerprint.hex(),
    }
    if as_json:
        print_json(facts)
        return
    print(f"{entry.path}: {facts['bytes']:,} bytes, weights {facts['weights']}, {entry.trained}")
    if folder != SHIPPED:
        print(f"use it with {VARIABLE}={folder.resolve()} ticodec encode -m {entry.name} …")
