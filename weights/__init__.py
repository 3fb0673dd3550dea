"""Trained weights: the files, their manifest and cards, and the store that finds them."""

from .store import Entry, entries, find, find_fingerprint, read

__all__ = ["Entry", "entries", "find", "find_fingerprint", "read"]
