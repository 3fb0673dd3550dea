"""Finds, checks and reads weights files. Looking weights up imports no torch.

A weights folder has a `manifest.json` and one `.safetensors` file a model, see `manifest`.
Folders are searched in this order:

1. those of the environment variable TICODEC_WEIGHTS, separated as in PATH;
2. the user's, where `ticodec export` writes; it need not exist;
3. the one that ships with ticodec.

A name stands for the first weights that have it. A `.tic` file names its weights by their
fingerprint, so weights that lost their name to others still decode the files that they wrote.
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
#: What a file is called in messages, by the key of its metadata that holds its dimensions.
NAMES = {"config": "a weights file", "head": "a classifier", "preview": "a preview"}


def user_folder() -> Path | None:
    """The user's own weights folder, which may not exist; None when the user has no home."""
    import platformdirs

    try:
        data = Path(platformdirs.user_data_dir("ticodec", appauthor=False))
    except RuntimeError:  # a user without a home
        return None
    return data / "weights" if data.is_absolute() else None


def _named() -> list[Path]:
    """The folders in the environment variable."""
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
    """All weights of one folder, or of every folder searched, including earlier ones of a name.

    With every folder searched, an entry is `current` if its name stands for it, and at most one
    entry is the `default`.

    Raises BadInputError when a manifest is missing from a named folder or is damaged.
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
    """The manifest of a folder that is searched; None if the user's own folder has none."""
    try:
        return read_manifest(folder)
    except BadInputError as error:
        missing = isinstance(error.__cause__, (FileNotFoundError, NotADirectoryError))
        if missing and folder == user_folder() and folder not in _named():
            return None
        raise


def names() -> set[str]:
    """Every name that weights have, in the folders that can be read."""
    found: set[str] = set()
    for folder in folders():
        with suppress(BadInputError):
            found |= {entry.name for entry in entries(folder)}
    return found


def find(name: str | None = None) -> Entry:
    """The weights that a name stands for, or the default ones.

    Raises UsageError when there are none of that name.
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
    """The weights to encode an image with before it is classified.

    Args:
        model: their name; None: those whose latents the classifier reads.
        head: the classifier's file; None: the one of the weights.

    Raises UsageError when there are none of that name; BadInputError when the classifier cannot be
    read, reads no latents, or its weights are not installed.
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
    """The weights of a fingerprint, whatever their name stands for now.

    Args:
        model: name or architecture of those weights; where: what needs them. For the message.

    Raises BadInputError when they are not installed.
    """
    for entry in entries():
        if entry.fingerprint == fingerprint:
            return entry
    raise BadInputError(
        f"{where}needs the weights {fingerprint.hex()} of model {model}, which are not installed; "
        f"put their folder into {VARIABLE}"
    )


class Written(Protocol):
    """What names the weights that wrote it: the header of a `.tic` file."""

    fingerprint: bytes

    @property
    def model_name(self) -> str:
        """The architecture's stable name."""


def of(header: Written) -> Entry:
    """The weights that wrote the file of a header.

    Raises BadInputError when they are not installed.
    """
    return find_fingerprint(header.fingerprint, header.model_name)


def read(entry: Entry) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config fields and tensors of a weights file, after checking its SHA-256.

    Raises BadInputError when the file is missing, damaged, or not the one in the manifest.
    """
    return _read(entry.path, f"the weights of {entry.name} are", entry.sha256)


def read_config(entry: Entry) -> dict[str, Any]:
    """Config fields of a weights file, from its header alone: without torch, in a millisecond.

    Raises BadInputError when there are none. Only `read` finds every damage.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(entry.path, "numpy") as weights:
            return _fields(entry.path, weights.metadata(), "config")
    except BadInputError:
        raise
    except (SafetensorError, OSError, *_UNSOUND) as error:
        raise BadInputError(f"{entry.path}: not a weights file of ticodec: {error}") from error


#: What metadata raises that `_fields` cannot read.
_UNSOUND = (ValueError, KeyError, TypeError, RecursionError)


def _fields(path: Path, metadata: dict[str, str], kind: str) -> dict[str, Any]:
    """The fields of a kind in a file's metadata.

    Raises BadInputError for a file of another version, or one of `_UNSOUND`.
    """
    if int(metadata["format"]) != FORMAT:
        raise BadInputError(f"{path}: weights of another version of ticodec")
    if kind == "head" and "config" in metadata:
        raise BadInputError(f"{path}: not a classifier of ticodec, but a codec's weights")
    fields = json.loads(metadata[kind])
    if not isinstance(fields, dict):
        raise ValueError("its dimensions have no names")
    return fields


def floats(tensors: dict[str, Tensor], part: str = "") -> dict[str, Tensor]:
    """The network's parameters among the tensors that `read` returns: float32, by name.

    Args:
        part: take only the parameters of this part, such as "vit." of a joint model. Their names
            are those within the part.
    """
    start = f"float.{part}"
    matches = {name: value for name, value in tensors.items() if name.startswith(start)}
    return {name.removeprefix(start): value.float() for name, value in matches.items()}


def read_head(path: Path | None, entry: Entry | None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config fields and tensors of a classifier's file.

    Args:
        path: any file; None: the classifier that comes with `entry`.

    Raises BadInputError when the file is missing, damaged or not a classifier.
    """
    if path is not None:
        return _read(path, "the classifier is", None, kind="head")
    assert entry is not None
    assert entry.head is not None
    what = f"the classifier of {entry.name} is"
    return _read(entry.head.path, what, entry.head.sha256, kind="head")


def read_preview(entry: Entry) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Fields and tensors of the preview that comes with an entry, which must have one.

    Raises BadInputError when the file is missing, damaged, or not the one in the manifest.
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
    except ValueError as error:  # a zero byte in its name
        raise BadInputError(f"{str(path)!r}: {what} missing: {error}") from error
    if sha256 is not None and digest != sha256:
        raise BadInputError(f"{path}: damaged weights: not the file the manifest names")
    try:
        with safe_open(path, "pt") as weights:
            fields = _fields(path, weights.metadata(), kind)
            tensors = {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118
            return fields, tensors
    except BadInputError:
        raise
    except (SafetensorError, OSError, *_UNSOUND) as error:
        raise BadInputError(f"{path}: not {NAMES[kind]} of ticodec: {error}") from error
