"""`ticodec export`: make a weights file from a training checkpoint."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ticodec.shown import shown

from .help_pages import OUTPUT, examples
from .output import Json, print_json, working

if TYPE_CHECKING:
    from ticodec.training.export.install import Made
    from ticodec.training.export.sources import Checkpoints
    from ticodec.weights import Entry

EXAMPLES = examples(
    (
        "Install a trained codec as `my-codec`.",
        "ticodec export runs/tic-lite/annealed.pt --name my-codec",
    ),
    (
        "Write a classifier to a folder of your choice.",
        "ticodec export runs/tic-lite-head/annealed.pt --out mine",
    ),
)


def export(
    source: Annotated[
        list[Path],
        typer.Argument(
            metavar="CKPT",
            help="Checkpoint that `ticodec train` wrote. If there are several, their weights are "
            "averaged. They must be of the same network.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder of weights. \\[default: the one in your home folder]",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="Name that `encode --model` takes. \\[default: the name of the network]",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    default: Annotated[
        bool,
        typer.Option(
            "--default",
            help="Make it the model that `encode` uses without --model.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            "-f",
            help="Take over the name if other weights have it. The other weights are kept, so that "
            "files that they encoded can still be decoded.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a weights file from a checkpoint, with a model card, and install it.

    Then use it with `encode --model`, or with `classify --weights`.
    """
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
    already = "" if facts["changed"] else ", was there already"
    made = f"{facts['path']}: {facts['bytes']:,} bytes, {facts['fingerprint']}{already}"
    for line in (made, *use):
        print(shown(line))


def _codec(
    checkpoints: Checkpoints, folder: Path, name: str | None, default: bool, force: bool
) -> tuple[dict[str, Any], list[str]]:
    """Export a codec. Returns what `--json` prints, and lines that say how to use it."""
    from ticodec.training.export import install, weights_file

    made = weights_file.make_codec(checkpoints, name)
    before, seen = _current(made.name), _times(_beside(folder, made))
    entry, changed = install.install_codec(folder, made, default, force)
    more = _written(seen)
    now = _current(entry.name)
    prefix = "" if now and now.sha256 == entry.sha256 else _prefix(folder)
    lines = [*more, f"use it with: {prefix}ticodec encode -m {shlex.quote(entry.name)} PHOTO"]
    if now and now.default and now.sha256 == entry.sha256:
        lines.append("it is the default model")
    if before and now and before.sha256 != now.sha256:
        old = before.fingerprint.hex()
        lines.append(f"-m {now.name} stood for weights {old} until now; their files still decode")
    return _facts(made, entry.path, changed), lines


def _head(
    checkpoints: Checkpoints, folder: Path, name: str | None, force: bool
) -> tuple[dict[str, Any], list[str]]:
    """Export a classifier. Returns what `--json` prints, and lines that say how to use it."""
    from ticodec import weights
    from ticodec.errors import TicodecError
    from ticodec.training.export import install, weights_file

    made, config = weights_file.make_head(checkpoints, name)
    seen = _times(_beside(folder, made))
    path, owner, changed = install.install_head(folder, made, config.fingerprint, force)
    more = _written(seen)
    facts = _facts(made, path, changed) | {"classifies": owner}
    file = shlex.quote(str(path))
    if config.stem == "pixels":
        return facts, [*more, f"use it with: ticodec evaluate PHOTOS --classifier {file}"]
    if not owner:
        return facts, [*more, f"use it with: ticodec classify PHOTO.tic --weights {file}"]
    try:
        entry = weights.find_fingerprint(bytes.fromhex(config.fingerprint), config.codec)
        searched = entry.head is not None and entry.head.path.samefile(path)
    except (TicodecError, OSError):
        searched = False
    prefix = "" if searched else _prefix(folder)
    return facts, [
        *more,
        f"use it with: {prefix}ticodec classify PHOTO.tic",
        f"it reads files of {owner}, weights {config.fingerprint}",
    ]


def _facts(made: Made, path: Path, changed: bool) -> dict[str, Any]:
    return {
        "name": made.name,
        "fingerprint": made.fields["sha256"][:8],
        "path": str(path),
        "bytes": len(made.data),
        "changed": changed,
    }


def _beside(folder: Path, made: Made) -> dict[Path, str]:
    """The files that an export may write besides the weights file, and what each of them is."""
    card = "the model card"
    files = {(folder / made.fields["file"]).with_suffix(".md"): card}
    files[folder / f"{made.name}.md"] = card  # of a classifier whose codec is not in the folder
    if made.preview is not None:
        files[folder / made.fields["preview"]["file"]] = "the preview, for `decode --scale`"
    return files


def _times(files: dict[Path, str]) -> dict[Path, tuple[str, int | None]]:
    """What each file is, and when it was written, in nanoseconds. None if it does not exist."""
    return {p: (what, p.stat().st_mtime_ns if p.exists() else None) for p, what in files.items()}


def _written(before: dict[Path, tuple[str, int | None]]) -> list[str]:
    """A line for each of these files that was written since `_times` looked at them."""
    now = _times({path: what for path, (what, _) in before.items()})
    return [f"{path}: {what}" for path, (what, time) in now.items() if before[path][1] != time]


def _current(name: str) -> Entry | None:
    """The weights that a name stands for. Returns None if no weights have that name."""
    from ticodec import weights
    from ticodec.errors import TicodecError

    try:
        return weights.find(name)
    except TicodecError:
        return None


def _prefix(folder: Path) -> str:
    """What a command line begins with so that this folder is searched first for weights."""
    from ticodec.weights.store import VARIABLE

    return f"{VARIABLE}={shlex.quote(str(folder.resolve()))} "
