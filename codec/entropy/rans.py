"""Entropy coding by rANS, safe on any bytes.

How range asymmetric numeral systems (rANS) code a symbol
---------------------------------------------------------
The coder's state is one integer. A table gives every symbol a slice of the numbers
0 … 65535, as wide as it is probable:

    table of scale 0.49, half-width K = 3 (not drawn to scale)

      0      1       76          10,131               55,404         65,460   65,535   65,536
      ├──────┼───────┼─────────────┼────────────────────┼───────────────┼────────┼───────┤
         -3     -2         -1                 0                +1           +2       +3

Decoding looks at the state's low 16 bits, finds the slice they fall into (that is the
symbol), and shrinks the state by the slice's width; when the state gets small, one
32-bit word is read from the stream. Encoding is the exact inverse, run backwards from
the last symbol to the first. A symbol of probability p costs log2(1/p) bits.

Everything here is integers, so encoder and decoder agree if they use the same table for the
same symbol. The tables are stored in the weights. Which table a symbol uses, and the mean
that is added to it, come from `ticodec.entropy.exact`.

Outliers
--------
A table covers -K … K, and its two end symbols mean "K or further". After the symbols of a call
come two lists, both coded with a uniform table: for every end symbol the number of hexadecimal
digits of its excess (0 to 4), and then all the digits, lowest first. So a value costs at most
1 + 1 + 4 rANS symbols. A stream ends with four symbols that cost no bits and that no reader reads.

Three coders
------------
All write the same streams, those of `compressai.ans`, and read each other's. The first one that is
installed is used:

    native      the C extension           about 10 ns a symbol   native/rans.h, rans_native.py
    compressai  compressai's extension    about 120 ns           rans_compressai.py, rans_escapes.py
    python      Python alone              about 500 ns           rans_python.py, rans_escapes.py

Damage
------
A container's CRC is checked before any of this runs, but a CRC is no proof. So every coder keeps
to its stream on any bytes: where the stream ends too early, zeros are read; a reader counts its
values and refuses more than were announced; an escape of more than four digits is an error, and
so is an index that no table has. Other damage gives wrong values, which the caller detects by
the checksum of the symbols.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple, Protocol

from ticodec.errors import TicodecError

from . import native, rans_compressai
from .rans_compressai import CompressaiDecoder, CompressaiEncoder
from .rans_escapes import EXCESS_MAX, WORST, EscapeReader, EscapeWriter
from .rans_native import NativeReader, NativeWriter
from .rans_python import PythonDecoder, PythonEncoder
from .rans_tables import TOTAL, Ints, Tables

__all__ = ["BACKENDS", "EXCESS_MAX", "TOTAL", "Ints", "Reader", "Tables", "Writer"]
__all__ += ["backends", "default_backend"]


class _Writer(Protocol):
    @property
    def native(self) -> object | None: ...

    def write(self, values: Ints, indexes: Ints, tables: Tables) -> None: ...

    def finish(self) -> bytes: ...


class _Reader(Protocol):
    @property
    def native(self) -> object | None: ...

    def read(self, indexes: Ints, tables: Tables) -> Ints: ...


class Backend(NamedTuple):
    """A coder.

    Args:
        load: gives what this coder needs; None where that is missing.
        writer: makes a writer, from what `load` gave.
        reader: makes a reader, from what `load` gave, a stream, and how many values it has.
    """

    load: Callable[[], object | None]
    writer: Callable[..., _Writer]
    reader: Callable[..., _Reader]


#: All coders by name, the best first.
BACKENDS = {
    "native": Backend(native.module, NativeWriter, NativeReader),
    "compressai": Backend(
        rans_compressai.extension,
        lambda coder: EscapeWriter(CompressaiEncoder(coder)),
        lambda coder, data, count: EscapeReader(
            CompressaiDecoder(coder, data, WORST * count), count
        ),
    ),
    "python": Backend(
        lambda: True,
        lambda _: EscapeWriter(PythonEncoder()),
        lambda _, data, count: EscapeReader(PythonDecoder(data), count),
    ),
}


def backends() -> list[str]:
    """Names of the coders that are there, the best first."""
    return [name for name, backend in BACKENDS.items() if backend.load() is not None]


@cache
def default_backend() -> str:
    """Name of the coder that is used when none is named."""
    return next(name for name, backend in BACKENDS.items() if backend.load() is not None)


def _chosen(name: str | None) -> tuple[object, Backend]:
    """A coder and what it has loaded."""
    backend = BACKENDS[name or default_backend()]
    loaded = backend.load()
    if loaded is None:
        raise TicodecError(f"the entropy coder {name} is missing")
    return loaded, backend


class Writer:
    """Collects symbols, in the order in which a `Reader` will read them.

    Args:
        backend: a name in `BACKENDS`; None for the best that is there.

    `native` is the writer of the C extension, a capsule; None when another coder is used.
    """

    def __init__(self, backend: str | None = None) -> None:
        loaded, chosen = _chosen(backend)
        self._coder = chosen.writer(loaded)
        self.native = self._coder.native

    def write(self, values: Ints, indexes: Ints, tables: Tables) -> None:
        """Append values (n,); `indexes` (n,) has the number of each value's table.

        |value| may exceed its table's K by at most EXCESS_MAX; the caller clamps.
        Raises ValueError for values further outside, IndexError for an index that no table has;
        then nothing is written.
        """
        if values.ndim != 1 or values.shape != indexes.shape:
            raise ValueError("values and indexes are not two lists of the same length")
        tables.check(indexes)
        self._coder.write(values, indexes, tables)

    def finish(self) -> bytes:
        """The stream. The writer is empty afterwards."""
        return self._coder.finish()


class Reader:
    """Reads back what a `Writer` wrote; on foreign bytes it returns values or raises, safely.

    Args:
        data: the stream.
        count: how many values will be read in all; reading more raises.
        backend: a name in `BACKENDS`; None for the best that is there.

    `native` is the reader of the C extension, a capsule; None when another coder is used.
    """

    def __init__(self, data: bytes, count: int, backend: str | None = None) -> None:
        loaded, chosen = _chosen(backend)
        self._coder = chosen.reader(loaded, data, count)
        self.native = self._coder.native

    def read(self, indexes: Ints, tables: Tables) -> Ints:
        """The next len(indexes) values; `indexes` has the number of each value's table.

        Raises BadInputError on an impossible escape, or when more than `count` values are read.
        A reader must not be used after an error.
        """
        tables.check(indexes)
        return self._coder.read(indexes, tables)
