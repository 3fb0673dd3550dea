"""Records the calls of the C extension during encoding and decoding. `replay` can repeat them.

A `Recorder` takes the place of the extension. It needs no knowledge of the functions' arguments.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from ticodec.entropy import native, rans

NAME = "ticodec.entropy.native._exact"
#: Type codes of the module `array`, by numpy's types.
CODES = {np.dtype(code): code for code in "hHifd"} | {np.dtype("int64"): "q"}


class Made:
    """A capsule that the extension made. `replay` drops its own where ticodec dropped this one."""

    def __init__(self, recorder: Recorder, number: int, capsule: object) -> None:
        self.recorder, self.number, self.capsule = recorder, number, capsule

    def __del__(self) -> None:
        with self.recorder.lock:
            self.recorder.calls.append(("", False, [], ("dropped", self.number)))


class Recorder:
    """Wraps the extension, and records every call in the form that `replay` reads.

    Calls of the main thread are recorded when they end. Calls of its helper threads are recorded
    when they begin. So a helper's call is in the list before the call that waits for it.

    Args:
        module: the extension.
        blobs: this list is filled with the little-endian bytes of all arrays. Equal ones are kept
            once.
    """

    def __init__(self, module: ModuleType, blobs: list[bytes]) -> None:
        self.module = module
        self.numbers = {blob: number for number, blob in enumerate(blobs)}
        self.blobs = blobs
        self.calls: list[tuple[str, bool, list[Any], tuple[Any, ...]]] = []
        self.arrays: list[np.ndarray] = []
        self.before: list[int] = []
        self.known: dict[int, int] = {}  # numbers of arrays by id; a list keeps the arrays alive
        self.made = 0
        self.lock = threading.RLock()

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.module, name)
        return partial(self.call, name, value) if callable(value) else value

    def call(self, name: str, function: Any, *arguments: Any) -> Any:
        """Call a function of the extension, and record the call."""
        with self.lock:
            forms = [self.form(argument) for argument in arguments]
            if arguments and arguments[-1] is None:
                forms[-1] = ("instructions", None)
            helper = threading.current_thread() is not threading.main_thread()
            if helper:
                self.calls.append((name, True, forms, ("value", None)))
        result = function(*map(opened, arguments))
        with self.lock:
            if type(result).__name__ == "PyCapsule":
                result = Made(self, self.made, result)
                self.made += 1
            if not helper:
                self.calls.append((name, False, forms, self.form(result)))
        return result

    def form(self, argument: Any) -> tuple[str, Any]:
        """How an argument or a result is recorded: its kind, and its value or its number."""
        if isinstance(argument, np.ndarray):
            if id(argument) not in self.known:
                self.known[id(argument)] = len(self.arrays)
                self.arrays.append(argument)
                self.before.append(self.blob(argument))
            return "array", self.known[id(argument)]
        if isinstance(argument, tuple):
            return "tuple", [self.form(part) for part in argument]
        if isinstance(argument, Made):
            return "made", argument.number
        return "value", argument

    def blob(self, array: np.ndarray) -> int:
        """The index of an array's bytes in `blobs`."""
        data = array.astype(array.dtype.newbyteorder("<")).tobytes()
        if data not in self.numbers:
            self.numbers[data] = len(self.blobs)
            self.blobs.append(data)
        return self.numbers[data]

    def job(self) -> dict[str, Any]:
        """The record for `replay`: all calls, and each array before the first and after the last
        call."""
        arrays = [
            (CODES[array.dtype], before, self.blob(array))
            for array, before in zip(self.arrays, self.before, strict=True)
        ]
        return {"arrays": arrays, "calls": self.calls}


def opened(argument: Any) -> Any:
    """An argument with the capsule of each `Made`, as the extension takes it."""
    if isinstance(argument, tuple):
        return tuple(opened(part) for part in argument)
    return argument.capsule if isinstance(argument, Made) else argument


@contextmanager
def path(module: Any) -> Iterator[None]:
    """Entropy coders that are made in this context use this extension, or torch if it is None."""

    def use(other: Any) -> None:
        sys.modules[NAME] = other  # None makes the import fail
        native.module.cache_clear()
        rans.default_backend.cache_clear()

    kept = {NAME: sys.modules[NAME]} if NAME in sys.modules else {}
    try:
        use(module)
        if (native.module() is None) != (module is None):
            raise SystemExit("TICODEC_NATIVE=0 turns the extension off, so nothing can be compared")
        yield
    finally:
        use(None)
        del sys.modules[NAME]
        sys.modules.update(kept)
