"""Symbols coded by compressai's C++ coder, made safe on any bytes.

`compressai.ans` does not check bounds. On a damaged stream it reads past its buffer, and its own
escape codes have unbounded length. Two measures make it safe:

  * The escape symbol of every table has frequency 0, so it is never decoded. Thus the decoder reads
    two 32-bit words at the start, and at most one more word for each symbol.
  * 4·n + 8 zero bytes follow the stream. n symbols cannot read past these bytes. The user of
    `CompressaiDecoder` counts the symbols.

compressai's encoder has a buffer of one word for each symbol. But a stream of n = 1 to 3 symbols
takes up to n/2 + 3 words, and then the encoder aborts the process. That cannot happen here,
because every stream ends with four symbols that cost no bits.
"""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from pathlib import Path
from typing import Any

import numpy as np

from .rans_tables import Ints, Slices


@cache
def extension() -> Any | None:
    """compressai's compiled coder, loaded by its path, or None if there is none that loads.

    Importing the package instead would run compressai/__init__. That imports torchvision, scipy
    and more, which takes 2.5 s and is not needed to code symbols.
    """
    spec = importlib.util.find_spec("compressai")
    for folder in (spec.submodule_search_locations if spec else None) or []:
        for suffix in EXTENSION_SUFFIXES:
            path = Path(folder) / f"ans{suffix}"
            if path.exists():
                try:
                    return _load(path)
                except (ImportError, OSError):
                    return None
    return None


def _load(path: Path) -> Any:
    loader = ExtensionFileLoader("compressai.ans", str(path))
    spec = importlib.util.spec_from_file_location("compressai.ans", path, loader=loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    sys.modules.setdefault("compressai.ans", module)
    return module


class CompressaiEncoder:
    """A `SymbolEncoder`. `coder` is compressai's extension."""

    def __init__(self, coder: Any) -> None:
        self._encoder = coder.BufferedRansEncoder()

    def encode(self, values: Ints, indexes: Ints, slices: Slices) -> None:
        self._encoder.encode_with_indexes(values.tolist(), indexes.tolist(), *slices)

    def finish(self) -> bytes:
        return bytes(self._encoder.flush())


class CompressaiDecoder:
    """A `SymbolDecoder` of at most `count` symbols. Its user must count them."""

    def __init__(self, coder: Any, data: bytes, count: int) -> None:
        self._decoder = coder.RansDecoder()
        self._decoder.set_stream(data + bytes(4 * count + 8))

    def decode(self, indexes: Ints, slices: Slices) -> Ints:
        return np.array(self._decoder.decode_stream(indexes.tolist(), *slices), np.int64)
