"""Putting what was exported into a weights folder. Nothing that is there is ever lost.

    NAME-1a2b3c4d.safetensors    weights or a classifier, by name and fingerprint
    NAME-1a2b3c4d.md             its card; what was measured is added by hand, so it is kept too
    NAME-preview-1a2b3c4d.safetensors    what gives smaller pictures with some weights
    manifest.json                which of them a name stands for, see `ticodec.weights.manifest`

When other weights take over a name, the entry that had it becomes an "earlier" one: `.tic` files
name their weights by the fingerprint, so those that it wrote still decode.

Files are written first and the manifest last, each whole or not at all. A crash in between leaves a
file that no manifest names, never a manifest that names a missing file. One process at a time
changes a folder: the others wait for its lock (filelock: by the operating system on Linux, macOS
and Windows; by a marker file where a file system has no locks).

A classifier whose weights are not in the folder has no entry. People name its file, so that is
NAME.safetensors; one that it replaces is kept as NAME-FINGERPRINT.safetensors.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ticodec import weights
from ticodec.errors import BadInputError, UsageError
from ticodec.files import check_name, locked, make_folder, read_file, write_file
from ticodec.weights import Entry
from ticodec.weights.manifest import MANIFEST, HeadEntry, read_manifest

SUFFIX = ".safetensors"
LOCK = ".ticodec-export.lock"
#: Seconds to wait for another export into the same folder; it holds the lock while it writes.
PATIENCE = 60.0


@dataclass(frozen=True)
class Made:
    """What is put into a folder.

    Args:
        name: of the weights or the classifier; fields: the entry of the manifest.
        data: the weights file; card: Markdown.
        preview: the file that the entry's "preview" names, or None.
    """

    name: str
    fields: dict[str, Any]
    data: bytes
    card: str
    preview: bytes | None = None


def entry_fields(name: str, data: bytes, **facts: Any) -> dict[str, Any]:
    """A manifest entry's fields: those facts, and which file it is."""
    sha256 = hashlib.sha256(data).hexdigest()
    file = f"{name}-{sha256[:8]}{SUFFIX}"
    return {"file": file, "sha256": sha256, "bytes": len(data), **facts}


def check_folder(folder: Path, name: str | None = None) -> None:
    """Find out what is wrong before minutes are spent on compiling.

    Raises BadInputError when the folder's manifest is damaged, UsageError for a bad name.
    """
    if name is not None and not re.fullmatch(r"\w[\w.+-]*", name):
        raise UsageError(f"`name` must be letters, digits and . + - _, not {name!r}")
    if name is not None:
        check_name(folder / f"{name}-{'0' * 8}{SUFFIX}")
    if (folder / MANIFEST).exists():
        read_manifest(folder)


def install_codec(
    folder: Path, made: Made, default: bool = False, force: bool = False
) -> tuple[Entry, bool]:
    """Put a codec into a weights folder, which is made if it is not there.

    Args:
        default: make it the default model.
        force: let it take over a name that other weights have; they stay as an earlier entry.

    Returns its entry, and whether anything was changed: the same weights may be there already.
    Raises UsageError when other weights have the name, there or in another folder that is
    searched, TicodecError when the disk refuses.
    """
    check_folder(folder, made.name)
    if not force:
        _check_name_elsewhere(folder, made)
    make_folder(folder)
    with locked(folder / LOCK, PATIENCE, "another export"):
        manifest = _manifest(folder)
        before = deepcopy(manifest)
        models = manifest["models"]
        what = f"{folder}: other weights are called {made.name}"
        fields = models[made.name] = _superseding(models.get(made.name), made.fields, force, what)
        if default:
            manifest["default"] = made.name
        wrote = _write_preview(folder, fields, made)
        wrote = _write(folder / fields["file"], made) or wrote
        if manifest != before:
            write_file(folder / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
        entry = next(e for e in read_manifest(folder).entries if e.name == made.name)
    return entry, wrote or manifest != before


def _check_name_elsewhere(folder: Path, made: Made) -> None:
    """Raises UsageError when the name stands for weights of another folder, and no longer would."""
    searched = [place.absolute() for place in weights.folders()]
    if folder.absolute() not in searched:
        return
    for behind in searched[searched.index(folder.absolute()) + 1 :]:
        with suppress(BadInputError):  # a folder that is not there, or damaged, hides nothing
            for entry in weights.entries(behind):
                if entry.name != made.name or entry.sha256 == made.fields["sha256"]:
                    continue
                raise UsageError(
                    f"{made.name} is the name of the weights {entry.fingerprint.hex()} in "
                    f"{behind}; give another `name`, or `force` to let it stand for these"
                )


def install_head(
    folder: Path, made: Made, fingerprint: str, force: bool = False
) -> tuple[Path, str, bool]:
    """Put a classifier into a folder, which is made if it is not there.

    When the folder has the weights whose latents it reads, current or earlier, it becomes theirs
    there, unless they classify by themselves.

    Args:
        fingerprint: of those weights, hexadecimal; "" for a classifier of pixels.
        force: let it replace another one, which is kept.

    Returns the file, the name of the weights that it comes with or "", and whether anything was
    changed. Raises UsageError when another is there or the name is that of weights, TicodecError
    when the disk refuses.
    """
    check_folder(folder, made.name)
    make_folder(folder)
    with locked(folder / LOCK, PATIENCE, "another export"):
        manifest = _manifest(folder)
        before = deepcopy(manifest)
        if made.name in manifest["models"]:
            raise UsageError(f"{folder}: {made.name} is the name of weights; give another `name`")
        owner = ""
        path = folder / f"{made.name}{SUFFIX}"
        for name, fields in _all_fields(manifest):
            # A joint model has its own classifier; another is used by naming its file.
            if fields["sha256"][:8] == fingerprint and not fields.get("labels"):
                what = f"{folder}: {name} has another classifier"
                head = fields["head"] = _superseding(fields.get("head"), made.fields, force, what)
                owner, path = name, folder / head["file"]
        if not owner:
            return path, "", _write_loose(path, made, force)
        wrote = _write(path, made)
        if manifest != before:
            write_file(folder / MANIFEST, (json.dumps(manifest, indent=2) + "\n").encode())
    return path, owner, wrote or manifest != before


def _superseding(
    old: dict[str, Any] | None, new: dict[str, Any], force: bool, what: str
) -> dict[str, Any]:
    """The entry in the place of `old`, which becomes the first of its earlier ones.

    It is `old` itself when that is the same file, and an earlier one, with its classifier, when
    that is. Raises UsageError with `what` when it would be another, without `force`.
    """
    if old is None:
        return new
    if old["sha256"] == new["sha256"]:
        return old
    if not force:
        raise UsageError(
            f"{what} ({old['sha256'][:8]}, not {new['sha256'][:8]}); give another `name`, or "
            "`force`, which keeps the old file"
        )
    earlier = [{k: v for k, v in old.items() if k != "earlier"}, *old.get("earlier", [])]
    again = [fields for fields in earlier if fields["sha256"] == new["sha256"]]
    rest = [fields for fields in earlier if fields["sha256"] != new["sha256"]]
    return {**(again[0] if again else new), "earlier": rest}


def _manifest(folder: Path) -> dict[str, Any]:
    """A folder's manifest as JSON, checked; an empty one if it has none."""
    path = folder / MANIFEST
    if not path.exists():
        return {"default": None, "models": {}}
    read_manifest(folder)
    manifest: dict[str, Any] = json.loads(read_file(path))
    return manifest


def _all_fields(manifest: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and fields of every entry, earlier ones too."""
    for name, fields in manifest["models"].items():
        yield name, fields
        for earlier in fields.get("earlier", []):
            yield name, earlier


def _write(path: Path, made: Made) -> bool:
    """Write a weights file and its card where they are not there, or damaged; whether one was."""
    card = path.with_suffix(".md")
    missing = not path.exists() or read_file(path) != made.data
    if missing:
        write_file(path, made.data)
    if not card.exists():
        write_file(card, made.card.encode())
    return missing


def _write_preview(folder: Path, fields: dict[str, Any], made: Made) -> bool:
    """Write the preview of weights, unless they have another one already; whether it was missing.

    `fields`: their entry, which gets the preview if it has none.
    """
    if made.preview is None:
        return False
    new = made.fields["preview"]
    if fields.setdefault("preview", new)["sha256"] != new["sha256"]:
        return False
    path = folder / new["file"]
    missing = not path.exists() or read_file(path) != made.preview
    if missing:
        write_file(path, made.preview)
    return missing


def _write_loose(path: Path, made: Made, force: bool) -> bool:
    """Write a classifier that no manifest names; whether it was not there yet."""
    named = {file.name: name for name, file in _files(path.parent)}
    if path.name in named:
        raise UsageError(f"{path} belongs to the weights {named[path.name]}; give another `name`")
    card, text = path.with_suffix(".md"), made.card.encode()
    if path.exists():
        data = read_file(path)
        if data == made.data:
            return False
        if not force:
            raise UsageError(
                f"{path}: another classifier is there; give another `name`, or `force`, which "
                "keeps the old file"
            )
        kept = path.with_stem(f"{path.stem}-{hashlib.sha256(data).hexdigest()[:8]}")
        if not kept.exists() or read_file(kept) != data:
            write_file(kept, data)
        # A card that is the new one already was left by a crash: then the old one is kept already.
        if card.exists() and read_file(card) != text:
            _keep_card(kept.with_suffix(".md"), read_file(card))
    elif card.exists() and read_file(card) != text:  # of what is not there now, or no card at all
        raise UsageError(f"{card} is there and is not this classifier's; give another `name`")
    write_file(card, text)
    write_file(path, made.data)  # last: once it is there, the same export again changes nothing
    return True


def _keep_card(path: Path, data: bytes) -> None:
    """Write a card under a name that is free, or has the same text already: NAME-2.md, …"""
    free, number = path, 2
    while free.exists() and read_file(free) != data:
        free, number = path.with_stem(f"{path.stem}-{number}"), number + 1
    if not free.exists():
        write_file(free, data)


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file that a folder's manifest names, and the name of the weights that it is of."""

    def heads(head: HeadEntry | None) -> Iterator[Path]:
        if head is not None:
            yield head.path
            for earlier in head.earlier:
                yield from heads(earlier)

    for entry in read_manifest(folder).entries if (folder / MANIFEST).exists() else ():
        yield entry.name, entry.path
        if entry.preview is not None:
            yield entry.name, entry.preview.path
        for path in heads(entry.head):
            yield entry.name, path
