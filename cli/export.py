"""`ticodec export`: a checkpoint to a weights file that encodes and decodes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .output import Json, print_json, working


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
    from ticodec.errors import UsageError
    from ticodec.training import checkpoint
    from ticodec.training.export import weights_file
    from ticodec.weights.store import SHIPPED, VARIABLE

    folder = out or SHIPPED
    head = checkpoint.load(source[0]).get("kind") == "head"
    if head and default:
        raise UsageError("a classifier cannot be the default model")
    place = "" if folder == SHIPPED else f"{VARIABLE}={folder.resolve()} "
    with working(f"compiling {', '.join(map(str, source))}", as_json):
        if head:
            path, config, owner = weights_file.export_head(source, folder, name)
            facts: dict[str, object] = {"name": path.stem, "classifies": owner}
            if config.stem == "pixels":
                use = f"ticodec evaluate PHOTOS --classifier {path}"
            elif owner:
                use = f"{place}ticodec classify PHOTO.tic   # written by {owner}"
            else:
                use = f"ticodec classify PHOTO.tic --weights {path}"
        else:
            entry = weights_file.export(source, folder, name, default)
            path = entry.path
            facts = {"name": entry.name, "weights": entry.fingerprint.hex()}
            use = f"{place}ticodec encode -m {entry.name} …"
    facts |= {"file": str(path), "bytes": path.stat().st_size}
    if as_json:
        print_json(facts)
        return
    print(f"{path}: {path.stat().st_size:,} bytes")
    print(f"use it with: {use}")
