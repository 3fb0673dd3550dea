"""Entropy coding by rANS, safe on any bytes.

How range asymmetric numeral systems (rANS) code a symbol
---------------------------------------------------------
The coder's state is one integer. A table gives every symbol a slice of the numbers
0 … 65535. The more probable the symbol, the wider its slice:

    table of scale 0.49, half-width K = 3 (not drawn to scale)

      0      1       76          10,131               55,404         65,460   65,535   65,536
      ├──────┼───────┼─────────────┼────────────────────┼───────────────┼────────┼───────┤
         -3     -2         -1                 0                +1           +2       +3

Decoding looks at the low 16 bits of the state. The slice into which they fall gives the symbol.
Then the state is multiplied by about the slice's width / 65536, which makes it smaller. When it
gets too small, one 32-bit word is read from the stream. Encoding is the exact inverse. It goes
backwards, from the last symbol to the first. A symbol of probability p costs log2(1/p) bits.

All arithmetic is on integers, so encoder and decoder agree if they use the same table for the
same symbol. The tables are stored in the weights. `ticodec.entropy.exact` computes which table a
symbol uses, and which mean is added to it.

Outliers
--------
A table covers -K … K. Its two end symbols -K and K mean "this far or further". The excess of a
value is how far it is beyond K or -K. After the symbols of one call come two lists, both coded
with a uniform table. The first has, for every end symbol, the number of hexadecimal digits of its
excess (0 to 4). The second has all the digits, the lowest digit of each excess first. So a value
costs at most 1 + 1 + 4 rANS symbols. A stream ends with four symbols that cost no bits and that no
reader reads.

Three coders
------------
All three write the same streams as `compressai.ans` does, and each reads the streams of the
others. The first coder of this list that is installed is used:

    native      the C extension        about 10 ns per symbol    native/rans.h, rans_native.py
    compressai  compressai's extension about 120 ns per symbol   rans_compressai.py, rans_escapes.py
    python      Python alone           about 500 ns per symbol   rans_python.py, rans_escapes.py

Damage
------
A container's CRC is checked before any coder runs, but a matching CRC does not prove that the
bytes are right. So every coder stays within its stream, whatever the bytes are:

  * If the stream ends too early, the coder reads zeros.
  * A reader counts its values and refuses to read more than were announced.
  * An escape of more than four digits is an error, and so is an index that no table has.

Other damage gives wrong values. The caller detects them by the checksum of the symbols.
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
        load: returns the module or object that this coder needs, or None if it is not installed.
        writer: makes a writer from the result of `load`.
        reader: makes a reader from the result of `load`, a stream, and the number of its values.
    """

    load: Callable[[], object | None]
    writer: Callable[..., _Writer]
    reader: Callable[..., _Reader]


#: All coders by name, the fastest first.
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
    """Names of the coders that are installed, the fastest first."""
    return [name for name, backend in BACKENDS.items() if backend.load() is not None]


@cache
def default_backend() -> str:
    """Name of the fastest coder that is installed. It is used unless the caller names another."""
    return next(name for name, backend in BACKENDS.items() if backend.load() is not None)


def _chosen(name: str | None) -> tuple[object, Backend]:
    """The result of a coder's `load`, and the coder. Raises TicodecError if it is missing."""
    backend = BACKENDS[name or default_backend()]
    loaded = backend.load()
    if loaded is None:
        raise TicodecError(f"the entropy coder {name} is missing")
    return loaded, backend


class Writer:
    """Collects symbols, in the order in which a `Reader` will read them.

    Args:
        backend: a name in `BACKENDS`. None means the fastest coder that is installed.

    `native` is the capsule of the C extension's writer. It is None if another coder is used.
    """

    def __init__(self, backend: str | None = None) -> None:
        loaded, chosen = _chosen(backend)
        self._coder = chosen.writer(loaded)
        self.native = self._coder.native

    def write(self, values: Ints, indexes: Ints, tables: Tables) -> None:
        """Appends values (n,). `indexes` (n,) has the number of each value's table.

        |value| may exceed its table's K by at most EXCESS_MAX. The caller clamps values to that.
        Raises ValueError if a value is further outside, and IndexError for an index that no table
        has. In both cases nothing is written.
        """
        if values.ndim != 1 or values.shape != indexes.shape:
            raise ValueError("values and indexes are not two lists of the same length")
        tables.check(indexes)
        self._coder.write(values, indexes, tables)

    def finish(self) -> bytes:
        """Returns the stream. The writer is empty afterwards."""
        return self._coder.finish()


class Reader:
    """Reads back what a `Writer` wrote. On any other bytes it safely returns values or raises.

    Args:
        data: the stream.
        count: how many values the stream has. Reading more of them raises.
        backend: a name in `BACKENDS`. None means the fastest coder that is installed.

    `native` is the capsule of the C extension's reader. It is None if another coder is used.
    """

    def __init__(self, data: bytes, count: int, backend: str | None = None) -> None:
        loaded, chosen = _chosen(backend)
        self._coder = chosen.reader(loaded, data, count)
        self.native = self._coder.native

    def read(self, indexes: Ints, tables: Tables) -> Ints:
        """Returns the next len(indexes) values. `indexes` has the number of each value's table.

        Raises BadInputError on an impossible escape, and when more than `count` values are read
        in all. A reader must not be used after an error.
        """
        tables.check(indexes)
        return self._coder.read(indexes, tables)
