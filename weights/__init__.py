"""Trained weights: their files, the manifest and cards, and the store that finds them."""

from .manifest import Entry, HeadEntry, PreviewEntry
from .store import (
    entries,
    find,
    find_fingerprint,
    find_for,
    floats,
    folders,
    names,
    of,
    read,
    read_config,
    read_head,
    read_labels,
    read_preview,
)

__all__ = [
    "Entry",
    "HeadEntry",
    "PreviewEntry",
    "entries",
    "find",
    "find_fingerprint",
    "find_for",
    "floats",
    "folders",
    "names",
    "of",
    "read",
    "read_config",
    "read_head",
    "read_labels",
    "read_preview",
]
