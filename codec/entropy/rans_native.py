"""Reading and writing with the C extension. Its functions check bounds themselves."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from ticodec.errors import BadInputError

from .rans_tables import Ints, Tables

_INT32 = np.iinfo(np.int32)


class NativeWriter:
    """A `Writer` that uses the extension. `native` is its capsule."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self.native: object = module.writer()

    def write(self, values: Ints, indexes: Ints, tables: Tables) -> None:
        # Values beyond int32 are too far outside every table. So are the smallest and the largest
        # int32, to which they are clamped: the extension refuses them.
        small = values.clip(_INT32.min, _INT32.max).astype(np.int32)
        self._module.write(self.native, small, indexes.astype(np.uint16), tables.native)

    def finish(self) -> bytes:
        return self._module.finish(self.native)


class NativeReader:
    """A `Reader` that uses the extension. `native` is its capsule."""

    def __init__(self, module: ModuleType, data: bytes, count: int) -> None:
        self._module = module
        self.native: object = module.reader(data, count)

    def read(self, indexes: Ints, tables: Tables) -> Ints:
        values = np.empty(len(indexes), np.int32)
        try:
            self._module.read(self.native, indexes.astype(np.uint16), values, tables.native)
        except ValueError as error:
            raise BadInputError(f"damaged file: {error}") from None
        return values.astype(np.int64)
