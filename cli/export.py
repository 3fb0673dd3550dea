"""`ticodec export`: a checkpoint to a weights file that encodes and decodes."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticodec.shown import shown

from .output import Json, print_json, working

if TYPE_CHECKING:
    from ticodec.training.export.install import Made
    from ticodec.training.export.sources import Checkpoints
    from ticodec.weights import Entry


def export(
    source: Annotated[
        list[Path],
        typer.Argument(
            metavar="CKPT…",
            help="Checkpoint of `ticodec train`. Several of the same network are averaged.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="Weights folder. \\[default: your own]")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Its name for -m. \\[default: the model's]")
    ] = None,
    default: Annotated[bool, typer.Option("--default", help="Make it the default model.")] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            "-f",
            help="Take over the name from other weights. Their files are kept and still decode.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Export a checkpoint: fp16 weights, integer tables, manifest entry and model card."""
    from ticodec.errors import UsageError
    from ticodec.training import checkpoint
    from ticodec.training.export import install, sources
    from ticodec.weights.store import VARIABLE, user_folder

    folder = out or user_folder()
    if folder is None:
        raise UsageError("there is no home folder to keep weights in; give --out")
    if os.pathsep in str(folder.absolute()):
        raise UsageError(f"{folder}: {VARIABLE} cannot name a folder with {os.pathsep!r} in it")
    install.check_folder(folder, name)
    checkpoints = sources.load(source)
    head = checkpoints.kind == checkpoint.HEAD
    if head and default:
        raise UsageError("a classifier cannot be the default model")
    with working(f"compiling {', '.join(map(str, source))}", as_json):
        if head:
            facts, use = _head(checkpoints, folder, name, force)
        else:
            facts, use = _codec(checkpoints, folder, name, default, force)
    if as_json:
        print_json(facts)
        return
    already = "" if facts["changed"] else ", there already"
    made = f"{facts['path']}: {facts['bytes']:,} bytes, {facts['fingerprint']}{already}"
    for line in (made, *use):
        print(shown(line))


def _codec(
    checkpoints: Checkpoints, folder: Path, name: str | None, default: bool, force: bool
) -> tuple[dict[str, Any], list[str]]:
    """Export a codec: what `--json` prints, and lines on how to use it."""
    from ticodec.training.export import install, weights_file

    made = weights_file.make_codec(checkpoints, name)
    before = _current(made.name)
    entry, changed = install.install_codec(folder, made, default, force)
    now = _current(entry.name)
    prefix = "" if now and now.sha256 == entry.sha256 else _prefix(folder)
    lines = [f"use it with: {prefix}ticodec encode -m {shlex.quote(entry.name)} PHOTO"]
    if now and now.default and now.sha256 == entry.sha256:
        lines.append("it is the default model")
    if before and now and before.sha256 != now.sha256:
        old = before.fingerprint.hex()
        lines.append(f"-m {now.name} stood for {old} until now; files of {old} still decode")
    return _facts(made, entry.path, changed), lines


def _head(
    checkpoints: Checkpoints, folder: Path, name: str | None, force: bool
) -> tuple[dict[str, Any], list[str]]:
    """Export a classifier: what `--json` prints, and lines on how to use it."""
    from ticodec import weights
    from ticodec.errors import TicodecError
    from ticodec.training.export import install, weights_file

    made, config = weights_file.make_head(checkpoints, name)
    path, owner, changed = install.install_head(folder, made, config.fingerprint, force)
    facts = _facts(made, path, changed) | {"classifies": owner}
    file = shlex.quote(str(path))
    if config.stem == "pixels":
        return facts, [f"use it with: ticodec evaluate PHOTOS --classifier {file}"]
    if not owner:
        return facts, [f"use it with: ticodec classify PHOTO.tic --weights {file}"]
    try:
        entry = weights.find_fingerprint(bytes.fromhex(config.fingerprint), config.codec)
        searched = entry.head is not None and entry.head.path.samefile(path)
    except (TicodecError, OSError):
        searched = False
    prefix = "" if searched else _prefix(folder)
    return facts, [
        f"use it with: {prefix}ticodec classify PHOTO.tic",
        f"it names what is in files of {owner}, weights {config.fingerprint}",
    ]


def _facts(made: Made, path: Path, changed: bool) -> dict[str, Any]:
    return {
        "name": made.name,
        "fingerprint": made.fields["sha256"][:8],
        "path": str(path),
        "bytes": len(made.data),
        "changed": changed,
    }


def _current(name: str) -> Entry | None:
    """The weights that a name stands for; None when there are none of that name."""
    from ticodec import weights
    from ticodec.errors import TicodecError

    try:
        return weights.find(name)
    except TicodecError:
        return None


def _prefix(folder: Path) -> str:
    """The variable that a command line must set so that this folder is searched, and first."""
    from ticodec.weights.store import VARIABLE

    return f"{VARIABLE}={shlex.quote(str(folder.resolve()))} "
