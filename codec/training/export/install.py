"""Puts exported weights into a weights folder. Nothing in the folder is ever lost.

    NAME-1a2b3c4d.safetensors    weights or a classifier, with its fingerprint
    NAME-1a2b3c4d.md             its card, which is kept too: it may have measurements added by hand
    NAME-preview-1a2b3c4d.safetensors    the layers that decode at a smaller size
    manifest.json                which file a name stands for, see `ticodec.weights.manifest`

When new weights take over a name, the old entry becomes an "earlier" entry of this name. A `.tic`
file stores the fingerprint of its weights, so files of the old weights can still be decoded.

Files are written first and the manifest last, each completely or not at all. If export crashes in
between, a file may be left that no manifest names, but a manifest never names a missing file. Only
one process at a time changes a folder, and the others wait for its lock. filelock makes this lock,
through the operating system on Linux, macOS and Windows, or as a marker file where a file system
has no locks.

A classifier whose codec is not in the folder has no manifest entry. People use it by the name of
its file, so this is NAME.safetensors. A classifier that it replaces is kept as
NAME-FINGERPRINT.safetensors.
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
#: Seconds to wait for another export into the same folder, which holds the lock while it writes.
PATIENCE = 60.0


@dataclass(frozen=True)
class Made:
    """Exported weights or an exported classifier.

    Args:
        name: its name.
        fields: its manifest entry.
        data: the bytes of its file.
        card: its card, in Markdown.
        preview: the bytes of the preview file that the entry names, or None.
    """

    name: str
    fields: dict[str, Any]
    data: bytes
    card: str
    preview: bytes | None = None


def entry_fields(name: str, data: bytes, **facts: Any) -> dict[str, Any]:
    """The fields of a manifest entry: file name, SHA-256 and size of `data`, then the facts."""
    sha256 = hashlib.sha256(data).hexdigest()
    file = f"{name}-{sha256[:8]}{SUFFIX}"
    return {"file": file, "sha256": sha256, "bytes": len(data), **facts}


def check_folder(folder: Path, name: str | None = None) -> None:
    """Check a folder and a name before minutes are spent on compiling.

    Raises:
        BadInputError: The folder's manifest is damaged.
        UsageError: The name is bad.
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
    """Put a codec into a weights folder. The folder is made if it is missing.

    Args:
        folder: the weights folder.
        made: the exported codec.
        default: make it the default model.
        force: let it take over a name that other weights have. They stay as an earlier entry.

    Returns:
        Its entry, and whether anything was changed. Nothing changes if the folder already has these
        weights.

    Raises:
        UsageError: Other weights have this name, in this folder or in another searched folder.
        TicodecError: The folder cannot be written.
    """
    check_folder(folder, made.name)
    if not force:
        _check_name_elsewhere(folder, made)
    make_folder(folder)
    with locked(folder / LOCK, PATIENCE, "another export"):
        manifest = _manifest(folder)
        before = deepcopy(manifest)
        models = manifest["models"]
        what = f"{folder}: other weights have the name {made.name}"
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
    """Raises UsageError when the new weights would hide weights of this name in another folder."""
    searched = [place.absolute() for place in weights.folders()]
    if folder.absolute() not in searched:
        return
    for behind in searched[searched.index(folder.absolute()) + 1 :]:
        with suppress(BadInputError):  # a missing or damaged folder has no names to hide
            for entry in weights.entries(behind):
                if entry.name != made.name or entry.sha256 == made.fields["sha256"]:
                    continue
                raise UsageError(
                    f"{made.name} is the name of the weights {entry.fingerprint.hex()} in "
                    f"{behind}: give another `name`, or `force` to use it for the new weights"
                )


def install_head(
    folder: Path, made: Made, fingerprint: str, force: bool = False
) -> tuple[Path, str, bool]:
    """Put a classifier into a folder. The folder is made if it is missing.

    If the folder has the codec whose latents it reads, as a current or an earlier entry, it becomes
    the classifier of this codec. A joint model, which has its own classifier, gets no other one.

    Args:
        folder: the folder.
        made: the exported classifier.
        fingerprint: the fingerprint of the codec, in hexadecimal. "" for a classifier of pixels.
        force: let it replace another classifier, whose file is kept.

    Returns:
        The file, the name of the weights that it belongs to or "", and whether anything was
        changed.

    Raises:
        UsageError: The codec, or the file name, already has another classifier, or `name` is the
            name of weights.
        TicodecError: The folder cannot be written.
    """
    check_folder(folder, made.name)
    make_folder(folder)
    with locked(folder / LOCK, PATIENCE, "another export"):
        manifest = _manifest(folder)
        before = deepcopy(manifest)
        if made.name in manifest["models"]:
            raise UsageError(f"{folder}: {made.name} is the name of weights: give another `name`")
        owner = ""
        path = folder / f"{made.name}{SUFFIX}"
        for name, fields in _all_fields(manifest):
            # A joint model has labels and its own classifier. Others are used by their file name.
            if fields["sha256"][:8] == fingerprint and not fields.get("labels"):
                what = f"{folder}: {name} already has another classifier"
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
    """The entry that replaces `old`. `old` becomes the first of its earlier entries.

    If `old` is the same file, the entry is `old` itself. If an earlier entry is the same file, it
    is this earlier entry, together with its classifier.

    Raises:
        UsageError: `old` is another file and `force` is not set. The message starts with `what`.
    """
    if old is None:
        return new
    if old["sha256"] == new["sha256"]:
        return old
    if not force:
        raise UsageError(
            f"{what} ({old['sha256'][:8]}, not {new['sha256'][:8]}): give another `name`, or "
            "`force`, which keeps the old file"
        )
    earlier = [{k: v for k, v in old.items() if k != "earlier"}, *old.get("earlier", [])]
    again = [fields for fields in earlier if fields["sha256"] == new["sha256"]]
    rest = [fields for fields in earlier if fields["sha256"] != new["sha256"]]
    return {**(again[0] if again else new), "earlier": rest}


def _manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder as JSON, after checking it. An empty one if the folder has none."""
    path = folder / MANIFEST
    if not path.exists():
        return {"default": None, "models": {}}
    read_manifest(folder)
    manifest: dict[str, Any] = json.loads(read_file(path))
    return manifest


def _all_fields(manifest: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The name and fields of every entry, including earlier ones."""
    for name, fields in manifest["models"].items():
        yield name, fields
        for earlier in fields.get("earlier", []):
            yield name, earlier


def _write(path: Path, made: Made) -> bool:
    """Write a weights file if it is missing or damaged, and its card if it is missing.

    Returns:
        Whether the weights file was written.
    """
    card = path.with_suffix(".md")
    missing = not path.exists() or read_file(path) != made.data
    if missing:
        write_file(path, made.data)
    if not card.exists():
        write_file(card, made.card.encode())
    return missing


def _write_preview(folder: Path, fields: dict[str, Any], made: Made) -> bool:
    """Write the preview of weights, unless they already have another one.

    Args:
        folder: the weights folder.
        fields: the entry of the weights, which gets the preview if it has none.
        made: the exported weights.

    Returns:
        Whether the file was written.
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
    """Write a classifier that no manifest names. Returns whether it was written."""
    named = {file.name: name for name, file in _files(path.parent)}
    if path.name in named:
        raise UsageError(f"{path} belongs to the weights {named[path.name]}: give another `name`")
    card, text = path.with_suffix(".md"), made.card.encode()
    if path.exists():
        data = read_file(path)
        if data == made.data:
            return False
        if not force:
            raise UsageError(
                f"{path}: another classifier already has this name: give another `name`, or "
                "`force`, which keeps the old file"
            )
        kept = path.with_stem(f"{path.stem}-{hashlib.sha256(data).hexdigest()[:8]}")
        if not kept.exists() or read_file(kept) != data:
            write_file(kept, data)
        # If the card is already the new one, a crash left it, and the old card is already kept.
        if card.exists() and read_file(card) != text:
            _keep_card(kept.with_suffix(".md"), read_file(card))
    elif card.exists() and read_file(card) != text:  # a file of this name that is not our card
        raise UsageError(f"{card} exists and is not this classifier's card: give another `name`")
    write_file(card, text)
    write_file(path, made.data)  # last, because if it exists, the same export changes nothing
    return True


def _keep_card(path: Path, data: bytes) -> None:
    """Write a card under a free name, NAME.md, NAME-2.md, …, unless one has this text already."""
    free, number = path, 2
    while free.exists() and read_file(free) != data:
        free, number = path.with_stem(f"{path.stem}-{number}"), number + 1
    if not free.exists():
        write_file(free, data)


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file that a folder's manifest names, with the name of its weights."""

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
