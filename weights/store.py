"""Finds, checks and reads weights files. Looking things up imports no torch.

A weights folder has a `manifest.json` and one `.safetensors` file a model. Folders are
searched in this order: those of the environment variable TICODEC_WEIGHTS (separated as
in PATH), then the one that ships with ticodec.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ticodec.errors import BadInputError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

SHIPPED = Path(__file__).parent
VARIABLE = "TICODEC_WEIGHTS"
FORMAT = 1
#: What a file is, by the entry of its metadata that holds its dimensions.
NAMES = {"config": "a weights file", "head": "a classifier"}


@dataclass(frozen=True)
class HeadEntry:
    """The classifier that comes with some weights: a file beside theirs.

    Args:
        path: the file; sha256: of the whole file; parameters: how many; trained: one line.
        labels: how many classes; history: every training run that led to it.
    """

    path: Path
    sha256: str
    parameters: int
    trained: str
    labels: int = 0
    history: tuple[dict[str, Any], ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Entry:
    """One weights file of a manifest.

    Args:
        name: as given to `-m`; model: the architecture's stable name.
        path: the file; sha256: of the whole file, its first 8 digits are the fingerprint.
        qualities: lowest and highest quality, None for one fixed λ.
        parameters: float parameters; trained: one line on how it was made.
        default: whether its manifest names it as the default.
        labels: how many classes the network itself can tell apart; 0: it does not classify.
        head: the classifier for its latents, where it is no part of the network.
        history: every training run that led to it, as a checkpoint tells them.
    """

    name: str
    model: str
    path: Path
    sha256: str
    qualities: tuple[float, float] | None
    parameters: int
    trained: str
    default: bool
    labels: int = 0
    head: HeadEntry | None = None
    history: tuple[dict[str, Any], ...] = field(default=(), compare=False)

    @property
    def fingerprint(self) -> bytes:
        """The 4 bytes that `.tic` files name their weights by."""
        return bytes.fromhex(self.sha256[:8])

    def checked_quality(self, quality: float | None) -> float | None:
        """The quality to use: the one asked for, or by default 4; None for one fixed λ.

        Raises UsageError when these weights do not have it.
        """
        if quality is not None and (isinstance(quality, bool) or not isinstance(quality, Real)):
            raise UsageError(f"quality must be a number, not {type(quality).__name__}")
        if self.qualities is None:
            if quality is not None:
                raise UsageError(f"{self.name} has one fixed quality; leave `quality` out")
            return None
        low, high = self.qualities
        if quality is None:
            return min(max(4.0, low), high)
        if not low <= quality <= high:
            raise UsageError(f"quality must be from {low:g} to {high:g}, not {quality:g}")
        return quality


def folders() -> list[Path]:
    """Where weights are looked for, first match wins."""
    extra = [Path(p) for p in os.environ.get(VARIABLE, "").split(os.pathsep) if p]
    return [*extra, SHIPPED]


def entries(folder: Path | None = None) -> list[Entry]:
    """All weights of one folder, or of every folder searched.

    Raises BadInputError when a manifest is missing from a named folder or is damaged.
    """
    if folder is None:
        return [entry for each in folders() for entry in entries(each)]
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text())
        return [
            Entry(
                name=name,
                model=fields["model"],
                path=folder / fields["file"],
                sha256=fields["sha256"],
                qualities=tuple(fields["qualities"]) if fields["qualities"] else None,
                parameters=fields["parameters"],
                trained=fields["trained"],
                default=manifest["default"] == name,
                labels=fields.get("labels", 0),
                head=_head(folder, fields.get("head")),
                history=tuple(fields.get("history", ())),
            )
            for name, fields in manifest["models"].items()
        ]
    except OSError as error:
        raise BadInputError(f"{path}: no manifest of weights there: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(f"{path}: damaged manifest of weights: {error}") from error


def _head(folder: Path, fields: dict[str, Any] | None) -> HeadEntry | None:
    if fields is None:
        return None
    return HeadEntry(
        path=folder / fields["file"],
        sha256=fields["sha256"],
        parameters=fields["parameters"],
        trained=fields["trained"],
        labels=fields.get("labels", 0),
        history=tuple(fields.get("history", ())),
    )


def find(name: str | None = None) -> Entry:
    """The weights of that name (first folder that has it), or the default ones.

    Raises UsageError when there are none of that name.
    """
    if name is not None and not isinstance(name, str):
        raise UsageError(f"model must be a name (str), not {type(name).__name__}")
    known = entries()
    for entry in known:
        if entry.name == name or (name is None and entry.default):
            return entry
    names = ", ".join(dict.fromkeys(entry.name for entry in known)) or "none"
    if name is None:
        raise UsageError(f"no default weights are installed (found: {names})")
    raise UsageError(f"no weights for model {name!r}; installed: {names}")


def find_fingerprint(fingerprint: bytes, model: str) -> Entry:
    """The weights that wrote a file. Raises BadInputError when they are not here."""
    for entry in entries():
        if entry.fingerprint == fingerprint:
            return entry
    raise BadInputError(
        f"written with weights {fingerprint.hex()} of model {model}, which are not installed; "
        f"put their folder into {VARIABLE}"
    )


class Written(Protocol):
    """What names the weights that wrote it: the header of a `.tic` file."""

    fingerprint: bytes

    @property
    def model_name(self) -> str:
        """The architecture's stable name."""


def of(header: Written) -> Entry:
    """The weights that wrote the file of a header. Raises BadInputError when they are not here."""
    return find_fingerprint(header.fingerprint, header.model_name)


def read(entry: Entry) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config fields and tensors of a weights file, its SHA-256 checked.

    Raises BadInputError when the file is missing, damaged or not the manifest's.
    """
    return _read(entry.path, f"the weights of {entry.name} are", entry.sha256)


def floats(tensors: dict[str, Tensor], part: str = "") -> dict[str, Tensor]:
    """The network's own parameters among what `read` gives, float32, by their names in it.

    `part`: only those of a part, by their names in that: "vit." of a joint model.
    """
    start = f"float.{part}"
    found = ((k.removeprefix(start), v) for k, v in tensors.items() if k.startswith(start))
    return {name: value.float() for name, value in found}


def read_head(path: Path | None, entry: Entry | None) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The same of a classifier's file: any file, or the one an entry comes with.

    Raises BadInputError when the file is missing, damaged or no classifier.
    """
    if path is not None:
        return _read(path, "the classifier is", None, kind="head")
    assert entry is not None
    assert entry.head is not None
    what = f"the classifier of {entry.name} is"
    return _read(entry.head.path, what, entry.head.sha256, kind="head")


def _read(
    path: Path, what: str, sha256: str | None, kind: str = "config"
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadInputError(f"{path}: {what} missing: {error.strerror}") from error
    if sha256 is not None and found != sha256:
        raise BadInputError(f"{path}: damaged weights: not the file the manifest names")
    try:
        with safe_open(path, "pt") as weights:
            metadata = weights.metadata()
            if int(metadata["format"]) != FORMAT:
                raise BadInputError(f"{path}: weights of another version of ticodec")
            if kind == "head" and "config" in metadata:
                raise BadInputError(f"{path}: not a classifier of ticodec, but a codec's weights")
            tensors = {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118
            return json.loads(metadata[kind]), tensors
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{path}: not {NAMES[kind]} of ticodec: {error}") from error
