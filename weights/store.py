"""Finds, checks and reads weights files. Looking weights up imports no torch.

A weights folder has a `manifest.json` and one `.safetensors` file per model, see `manifest`.
Folders are searched in this order:

1. the folders in the environment variable TICODEC_WEIGHTS, separated as in PATH;
2. the user's folder, where `ticodec export` writes and which may be missing;
3. the folder that ships with ticodec.

A name stands for the first weights with this name. A `.tic` file stores the fingerprint of its
weights. So weights whose name now stands for other weights still decode the files that they wrote.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ticodec.errors import BadInputError, UsageError

from .manifest import Entry, Manifest, read_manifest

if TYPE_CHECKING:
    from torch import Tensor

SHIPPED = Path(__file__).parent
VARIABLE = "TICODEC_WEIGHTS"
FORMAT = 1
#: What messages call a file, by the key in its metadata that holds its dimensions.
NAMES = {"config": "a weights file", "head": "a classifier", "preview": "a preview"}


def user_folder() -> Path | None:
    """The user's own weights folder, which may not exist. None if the user has no home folder."""
    import platformdirs

    try:
        data = Path(platformdirs.user_data_dir("ticodec", appauthor=False))
    except RuntimeError:  # the user has no home folder
        return None
    return data / "weights" if data.is_absolute() else None


def _named() -> list[Path]:
    """The folders in the environment variable TICODEC_WEIGHTS."""
    return [Path(path) for path in os.environ.get(VARIABLE, "").split(os.pathsep) if path]


def folders() -> list[Path]:
    """The folders that are searched for weights, in order, without repeats."""
    user = user_folder()
    searched = [*_named(), *([] if user is None else [user]), SHIPPED]
    once: dict[Path, Path] = {}
    for folder in searched:
        once.setdefault(folder.absolute(), folder)
    return list(once.values())


def entries(folder: Path | None = None) -> list[Entry]:
    """All weights of one folder, or of every searched folder.

    Weights whose name now stands for other weights are included.
    For every searched folder (`folder` is None), an entry is `current` only if its name stands for
    it among all folders, and at most one entry is the `default`.

    Raises:
        BadInputError: A manifest is damaged, or missing in a folder that was named.
    """
    if folder is not None:
        return list(read_manifest(folder).entries)
    manifests = [manifest for searched in folders() if (manifest := _manifest(searched))]
    default = next((manifest.default for manifest in manifests if manifest.default), "")
    names: set[str] = set()
    listed = []
    for manifest in manifests:
        for entry in manifest.entries:
            current = entry.current and entry.name not in names
            is_default = current and entry.name == default
            listed.append(replace(entry, current=current, default=is_default))
        names |= {entry.name for entry in manifest.entries if entry.current}
    return listed


def _manifest(folder: Path) -> Manifest | None:
    """The manifest of a searched folder. Returns None if the user's own folder has none."""
    try:
        return read_manifest(folder)
    except BadInputError as error:
        missing = isinstance(error.__cause__, (FileNotFoundError, NotADirectoryError))
        if missing and folder == user_folder() and folder not in _named():
            return None
        raise


def names() -> set[str]:
    """All names of weights in the searched folders that can be read."""
    found: set[str] = set()
    for folder in folders():
        with suppress(BadInputError):
            found |= {entry.name for entry in entries(folder)}
    return found


def find(name: str | None = None) -> Entry:
    """The weights that a name stands for. With None, the default weights.

    Raises:
        UsageError: There are no such weights.
    """
    if name is not None and not isinstance(name, str):
        raise UsageError(f"model must be a name (str), not {type(name).__name__}")
    current = [entry for entry in entries() if entry.current]
    for entry in current:
        if entry.name == name or (name is None and entry.default):
            return entry
    names = ", ".join(entry.name for entry in current) or "none"
    if name is None:
        raise UsageError(f"no default weights are installed (found: {names})")
    raise UsageError(f"no weights for model {name!r}; installed: {names}")


def find_for(model: str | None, head: Path | None) -> Entry:
    """The weights for encoding an image before it is classified.

    Args:
        model: their name. None means the weights whose latents the classifier reads.
        head: the file of the classifier. None means the classifier that belongs to the weights.

    Raises:
        UsageError: There are no weights of that name.
        BadInputError: The classifier cannot be read, reads pixels instead of latents, or reads
            latents of weights that are not installed.
    """
    if model is not None or head is None:
        return find(model)
    fields, _ = read_head(head, None)
    if fields.get("stem") == "pixels":
        raise BadInputError(f"{head}: this classifier reads pixels, not latents")
    fingerprint, model = fields.get("fingerprint"), fields.get("codec")
    if not isinstance(fingerprint, str) or not re.fullmatch("[0-9a-f]{8}", fingerprint):
        raise BadInputError(f"{head}: this classifier does not say whose latents it reads")
    named = isinstance(model, str) and model.isprintable() and len(model) < 100
    return find_fingerprint(bytes.fromhex(fingerprint), str(model) if named else "?", f"{head}: ")


def find_fingerprint(fingerprint: bytes, model: str, where: str = "") -> Entry:
    """The weights with a fingerprint, even if their name stands for other weights now.

    Args:
        fingerprint: 4 bytes.
        model: the name or architecture of the weights, for the message.
        where: what needs the weights, for the message.

    Raises:
        BadInputError: The weights are not installed.
    """
    for entry in entries():
        if entry.fingerprint == fingerprint:
            return entry
    raise BadInputError(
        f"{where}needs the weights {fingerprint.hex()} of model {model}, which are not installed; "
        f"put their folder into {VARIABLE}"
    )


class Written(Protocol):
    """The header of a `.tic` file, which names the weights that wrote the file."""

    fingerprint: bytes

    @property
    def model_name(self) -> str:
        """The stable name of the architecture."""


def of(header: Written) -> Entry:
    """The weights that wrote the file with this header.

    Raises:
        BadInputError: The weights are not installed.
    """
    return find_fingerprint(header.fingerprint, header.model_name)


def read(entry: Entry) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The config fields and tensors of a weights file, after checking its SHA-256.

    Raises:
        BadInputError: The file is missing, damaged, or not the file in the manifest.
    """
    return _read(entry.path, f"the weights of {entry.name} are", entry.sha256)


def read_config(entry: Entry) -> dict[str, Any]:
    """The config fields of a weights file. Reads only its header, in a millisecond, without torch.

    Raises:
        BadInputError: The header is missing or damaged. Other damage is found by `read` only.
    """
    return _read_fields(entry.path, "config")


def read_labels(entry: Entry) -> tuple[str, ...]:
    """The labels of the classifier of some weights. Reads only the header of a file, without torch.

    Returns an empty tuple if the weights have no classifier.

    Raises:
        BadInputError: The header is missing or damaged.
    """
    fields = read_config(entry) if entry.head is None else _read_fields(entry.head.path, "head")
    return tuple(map(str, fields.get("labels") or ()))


def _read_fields(path: Path, kind: str) -> dict[str, Any]:
    """The fields in the header of a file, see `_fields`. Raises BadInputError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as weights:
            return _fields(path, weights.metadata(), kind)
    except BadInputError:
        raise
    except (SafetensorError, OSError, *_UNSOUND) as error:
        raise BadInputError(f"{path}: not {NAMES[kind]} of ticodec: {error}") from error


#: The errors that `_fields` raises for metadata that it cannot read.
_UNSOUND = (ValueError, KeyError, TypeError, RecursionError)


def _fields(path: Path, metadata: dict[str, str], kind: str) -> dict[str, Any]:
    """The fields in the metadata of a file.

    Args:
        path: the file, for messages.
        metadata: its metadata.
        kind: the key of the fields, from `NAMES`.

    Raises:
        BadInputError: The file is of another version or of another kind. Damaged metadata raises
            one of `_UNSOUND` instead.
    """
    if int(metadata["format"]) != FORMAT:
        raise BadInputError(f"{path}: weights of another version of ticodec")
    if kind == "head" and "config" in metadata:
        raise BadInputError(f"{path}: not a classifier of ticodec, but the weights of a codec")
    fields = json.loads(metadata[kind])
    if not isinstance(fields, dict):
        raise ValueError("its dimensions are not a JSON object")
    return fields


def floats(tensors: dict[str, Tensor], part: str = "") -> dict[str, Tensor]:
    """The network's parameters among the tensors that `read` returns: float32, by name.

    Args:
        tensors: what `read` returns.
        part: a prefix, such as "vit." in a joint model. Only parameters with this prefix are
            returned, by their names without it.
    """
    start = f"float.{part}"
    matches = {name: value for name, value in tensors.items() if name.startswith(start)}
    return {name.removeprefix(start): value.float() for name, value in matches.items()}


def read_head(path: Path | None, entry: Entry | None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The config fields and tensors of a classifier's file.

    Args:
        path: the file. None means the classifier that belongs to `entry`.
        entry: weights with a classifier. Only needed without `path`.

    Raises:
        BadInputError: The file is missing, damaged or not a classifier.
    """
    if path is not None:
        return _read(path, "the classifier is", None, kind="head")
    assert entry is not None
    assert entry.head is not None
    what = f"the classifier of {entry.name} is"
    return _read(entry.head.path, what, entry.head.sha256, kind="head")


def read_preview(entry: Entry) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The fields and tensors of the preview that belongs to an entry. The entry must have one.

    Raises:
        BadInputError: The file is missing, damaged, or not the file in the manifest.
    """
    assert entry.preview is not None
    what = f"the preview of {entry.name} is"
    return _read(entry.preview.path, what, entry.preview.sha256, kind="preview")


def _read(
    path: Path, what: str, sha256: str | None, kind: str = "config"
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadInputError(f"{path}: {what} missing: {error.strerror}") from error
    except ValueError as error:  # the name has a zero byte
        raise BadInputError(f"{str(path)!r}: {what} missing: {error}") from error
    if sha256 is not None and digest != sha256:
        raise BadInputError(f"{path}: damaged weights: not the file that the manifest names")
    try:
        with safe_open(path, "pt") as weights:
            fields = _fields(path, weights.metadata(), kind)
            tensors = {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118
            return fields, tensors
    except BadInputError:
        raise
    except (SafetensorError, OSError, *_UNSOUND) as error:
        raise BadInputError(f"{path}: not {NAMES[kind]} of ticodec: {error}") from error
