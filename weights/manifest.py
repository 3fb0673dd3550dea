"""Reads and checks the manifest of a weights folder. Imports no torch.

    {
      "default": "tic-plus",             name of the default model; may be missing, "" or null
      "models": {
        "tic-lite": {                    the name for `-m`
          "model", "file", "sha256", "parameters", "trained",
          "qualities": [low, high],      null for one fixed λ
          "labels", "history", "bytes",  optional
          "head": {"file", "sha256", "parameters", "trained", "labels", "history"},   optional
          "preview": {"file", "sha256"},   optional, see `models.preview`
          "earlier": [{…}, …]            optional: entries that had this name before, newest first
        }
      }
    }

An earlier entry keeps its files, its head and its preview, so `.tic` files that it wrote can still
be decoded. A head may have "earlier" heads too. Other fields are ignored.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ticodec.errors import BadInputError

MANIFEST = "manifest.json"
#: Qualities must be below this, because a `.tic` file stores them in 16 bits, in steps of 1/4096.
QUALITIES_END = 16


@dataclass(frozen=True)
class HeadEntry:
    """A classifier that belongs to some weights. It is in a separate file.

    Args:
        path: the file.
        sha256: the SHA-256 of the whole file.
        parameters: the number of parameters.
        trained: one line about the training.
        labels: the number of classes.
        history: every training run that led to it.
        earlier: classifiers that it replaced, newest first.
    """

    path: Path
    sha256: str
    parameters: int
    trained: str
    labels: int = 0
    history: tuple[dict[str, Any], ...] = field(default=(), compare=False)
    earlier: tuple[HeadEntry, ...] = ()


@dataclass(frozen=True)
class PreviewEntry:
    """Layers that decode pictures of some weights at a smaller size. They are in a separate file.

    Args:
        path: the file.
        sha256: the SHA-256 of the whole file.
    """

    path: Path
    sha256: str


@dataclass(frozen=True)
class Entry:
    """One weights file of a manifest.

    Args:
        name: the name for `-m`.
        model: the stable name of the architecture.
        path: the file.
        sha256: the SHA-256 of the whole file. Its first 8 digits are the fingerprint.
        qualities: the lowest and the highest quality. None for one fixed λ.
        parameters: the number of float parameters.
        trained: one line about the training.
        default: whether it is the default model.
        labels: the number of classes if the network itself classifies, else 0.
        head: the classifier for its latents, if this is a separate file.
        preview: the layers that decode at a smaller size. If it is None, pictures are decoded at
            full size and then made smaller.
        history: every training run that led to it, as in a checkpoint.
        superseded: whether other weights in the same folder have its name now.
        current: whether its name stands for it. If not, it is superseded, or hidden by weights of
            the same name in a folder that is searched earlier. Then it is only found by the
            fingerprint in its `.tic` files.
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
    preview: PreviewEntry | None = None
    history: tuple[dict[str, Any], ...] = field(default=(), compare=False)
    superseded: bool = False
    current: bool = True

    @property
    def fingerprint(self) -> bytes:
        """The 4 bytes by which a `.tic` file names its weights."""
        return bytes.fromhex(self.sha256[:8])


@dataclass(frozen=True)
class Manifest:
    """The manifest of a folder: all entries, and the name of its default model or ""."""

    entries: tuple[Entry, ...]
    default: str


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a weights folder. Earlier entries of a name follow its current entry.

    Raises:
        BadInputError: The manifest is missing or damaged. If it cannot be read, the `__cause__` is
            the OSError.
    """
    path = folder / MANIFEST
    try:
        return parse(folder, json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        missing = isinstance(error, (FileNotFoundError, NotADirectoryError))
        what = "no manifest of weights" if missing else "cannot be read"
        raise BadInputError(f"{path}: {what}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{path}: damaged manifest of weights: {error}") from error


def parse(folder: Path, manifest: Any) -> Manifest:
    """The manifest from its JSON. Raises ValueError, which names the field that is wrong."""
    top = Fields(manifest, "")
    default = top.text("default", "") or ""
    entries: list[Entry] = []
    for name, value in Fields(top.get("models"), "models").items():
        current = Fields(value, name)
        entries.append(_entry(folder, name, current, name == default))
        for fields in current.list_of_fields("earlier"):
            entries.append(_entry(folder, name, fields, default=False, superseded=True))
    return Manifest(tuple(entries), default if any(entry.default for entry in entries) else "")


def _entry(
    folder: Path, name: str, fields: Fields, default: bool, superseded: bool = False
) -> Entry:
    head, preview = fields.get("head", None), fields.get("preview", None)
    return Entry(
        name=name,
        model=fields.text("model"),
        path=folder / fields.text("file"),
        sha256=fields.sha256(),
        qualities=fields.qualities(),
        parameters=fields.count("parameters"),
        trained=fields.text("trained"),
        default=default,
        labels=fields.count("labels", 0),
        head=None if head is None else _head(folder, Fields(head, f"{name}: head")),
        preview=None if preview is None else _preview(folder, Fields(preview, f"{name}: preview")),
        history=fields.history(),
        superseded=superseded,
        current=not superseded,
    )


def _head(folder: Path, fields: Fields) -> HeadEntry:
    return HeadEntry(
        path=folder / fields.text("file"),
        sha256=fields.sha256(),
        parameters=fields.count("parameters"),
        trained=fields.text("trained"),
        labels=fields.count("labels", 0),
        history=fields.history(),
        earlier=tuple(_head(folder, earlier) for earlier in fields.list_of_fields("earlier")),
    )


def _preview(folder: Path, fields: Fields) -> PreviewEntry:
    return PreviewEntry(folder / fields.text("file"), fields.sha256())


class Fields:
    """A JSON object whose fields are checked when they are read. Errors name the field."""

    REQUIRED = object()

    def __init__(self, value: Any, where: str) -> None:
        self.where = where
        if not isinstance(value, dict):
            raise ValueError(f"{where or 'it'} must be an object")
        self.values = value

    def items(self) -> Any:
        """The names and values of all fields."""
        return self.values.items()

    def wrong(self, name: str, rule: str) -> ValueError:
        """The error for a field that breaks a rule."""
        return ValueError(f"{self.where}: {name} {rule}".removeprefix(": "))

    def get(self, name: str, default: Any = REQUIRED) -> Any:
        """The value of a field, without checks."""
        value = self.values.get(name, default)
        if value is Fields.REQUIRED:
            raise self.wrong(name, "is missing")
        return value

    def text(self, name: str, default: Any = REQUIRED) -> str:
        """A string. If there is a default, null means the same as a missing field."""
        value = self.get(name, default)
        if value is None and default is not Fields.REQUIRED:
            return str(default)
        if not isinstance(value, str):
            raise self.wrong(name, "must be a string")
        return value

    def count(self, name: str, default: Any = REQUIRED) -> int:
        """A whole number, 0 or more."""
        value = self.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise self.wrong(name, "must be a whole number, 0 or more")
        return value

    def sha256(self) -> str:
        """A SHA-256, as 64 hexadecimal digits in lower case."""
        value = self.text("sha256")
        if not re.fullmatch(r"[0-9a-f]{64}", value):
            raise self.wrong("sha256", "must be 64 hexadecimal digits in lower case")
        return value

    def qualities(self) -> tuple[float, float] | None:
        """The lowest and the highest quality. Returns None for null."""
        value = self.get("qualities")
        if value is None:
            return None
        numbers = isinstance(value, list) and all(type(number) in (int, float) for number in value)
        if not numbers or len(value) != 2 or not 1 <= value[0] <= value[1] < QUALITIES_END:
            rule = f"must be null or two numbers from 1 to {QUALITIES_END}, the lower first"
            raise self.wrong("qualities", rule)
        return (value[0], value[1])

    def list_of_fields(self, name: str) -> list[Fields]:
        """A list of objects. An empty list if the field is missing."""
        value = self.get(name, [])
        if not isinstance(value, list):
            raise self.wrong(name, "must be a list")
        return [Fields(item, f"{self.where}: {name}") for item in value]

    def history(self) -> tuple[dict[str, Any], ...]:
        """The training runs."""
        return tuple(run.values for run in self.list_of_fields("history"))
