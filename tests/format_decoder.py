"""A decoder of `.tic` files to latents that follows `docs/format.md` and imports no ticodec.

It shows that the document is complete: `test_format_decoder.py` compares its latents with those of
ticodec. It is written to be read, not to be fast. Names and order are those of the document.
"""

from __future__ import annotations

import binascii
import hashlib
import json
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from format_networks import GRID_Y, Context, Maps, Weights, hyper_synthesis, joint_parameters
from numpy.typing import NDArray

MODELS = {1: "tic", 2: "tic-plus", 3: "tic-lite", 4: "icat"}
DTYPES = {"I64": "<i8", "I32": "<i4", "I16": "<i2", "F16": "<f2", "F32": "<f4"}
SYMBOL_MAX = 32767
HEX = [4096 * s for s in range(17)]
FREE = [0, 65535, 65536]


class DamagedError(ValueError):
    """The file is not one that the format allows."""


class Latents(NamedTuple):
    """What a file holds.

    Args:
        z, y: symbols (rows, columns, channels), int64.
        y_hat: ŷ (rows, columns, M), integers in units of 2^-8, float64.
        outliers: how many values of y, and of z, had an escape.
    """

    z: NDArray[np.int64]
    y: NDArray[np.int64]
    y_hat: Maps
    outliers: int


# -- the container ------------------------------------------------------------------


class Bytes:
    """Reads a file from its beginning to its end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        taken = self.data[self.at : self.at + count]
        if len(taken) < count:
            raise DamagedError("it ends too early")
        self.at += count
        return taken

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "little")

    def varint(self) -> int:
        value = 0
        for index in range(5):
            byte = self.number(1)
            value |= (byte & 127) << 7 * index
            if byte < 128:
                if byte == 0 and index:
                    break
                return value
        raise DamagedError("a varint is not in its shortest form")

    def check(self, first: int) -> None:
        """Check the CRC-32 that follows. It is that of all bytes from `first` on."""
        if zlib.crc32(self.data[first : self.at]) != self.number(4):
            raise DamagedError("a CRC-32 is wrong")


def read_container(data: bytes) -> tuple[dict[str, Any], dict[int, bytes]]:
    """The header's fields, and the payload of each section by its type."""
    file = Bytes(data)
    if file.take(6) != b"\x89TIC\r\n" or file.number(1) != 1:
        raise DamagedError("this is no .tic file of version 1")
    header = {
        "model": MODELS.get(file.number(1)),
        "fingerprint": file.take(4),
        "quality": file.number(2),
        "mode": file.number(1),
        "width": file.varint(),
        "height": file.varint(),
        "symbols": file.number(2),
    }
    file.check(0)
    sections: dict[int, bytes] = {}
    last = False
    while not last:
        first = file.at
        kind = file.number(1)
        last, kind = kind >= 128, kind & 127
        payload = file.take(file.varint())
        file.check(first)
        if kind in sections:
            raise DamagedError("a section is there twice")
        sections[kind] = payload
    if file.at != len(data) or not {1, 2} <= set(sections):
        raise DamagedError("a stream is missing, or something follows the last section")
    return header, sections


def read_weights(data: bytes) -> Weights:
    """A weights file."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__")
    assert metadata["format"] == "1"
    tensors = {}
    for name, entry in header.items():
        first, end = (8 + length + offset for offset in entry["data_offsets"])
        values = np.frombuffer(data[first:end], DTYPES[entry["dtype"]])
        tensors[name] = values.reshape(entry["shape"])
    exact = {name[6:]: value for name, value in tensors.items() if name.startswith("exact.")}
    return Weights(json.loads(metadata["config"]), exact, tensors)


# -- the rANS coder -----------------------------------------------------------------


class Tables:
    """Entropy tables: K of each, and where the slice of each symbol starts."""

    def __init__(self, weights: Weights, kind: str) -> None:
        self.halves = weights.exact[f"{kind}.halves"].tolist()
        frequencies = iter(weights.exact[f"{kind}.frequencies"].tolist())
        self.starts = []
        for half in self.halves:
            starts = [0]
            for _ in range(2 * half + 1):
                starts.append(starts[-1] + next(frequencies))
            assert starts[-1] == 65536
            self.starts.append(starts)
        assert next(frequencies, None) is None


class Stream:
    """A rANS stream that is being read."""

    def __init__(self, data: bytes, tables: Tables) -> None:
        data += bytes(-len(data) % 4)
        self.words: Iterator[int] = iter(np.frombuffer(data, "<u4").tolist())
        self.state = next(self.words, 0) | next(self.words, 0) << 32
        self.tables, self.outliers = tables, 0

    def decode(self, starts: list[int]) -> int:
        slot = self.state % 65536
        s = bisect_right(starts, slot) - 1
        self.state = (starts[s + 1] - starts[s]) * (self.state >> 16) + slot - starts[s]
        if self.state < 2**31:
            self.state = self.state << 32 | next(self.words, 0)
        return s

    def read_block(self, indexes: NDArray[np.int64]) -> NDArray[np.int64]:
        """Read values. `indexes` has the number of each value's table, and the result its shape."""
        halves, starts = self.tables.halves, self.tables.starts
        order = indexes.ravel().tolist()
        values = [self.decode(starts[index]) - halves[index] for index in order]
        ends = [at for at, index in enumerate(order) if abs(values[at]) == halves[index]]
        counts = [self.decode(HEX) for _ in ends]
        if max(counts, default=0) > 4:
            raise DamagedError("an escape has more than four digits")
        for at, count in zip(ends, counts, strict=True):
            excess = sum(self.decode(HEX) << 4 * digit for digit in range(count))
            values[at] += excess if values[at] > 0 else -excess
            self.outliers += count > 0
        if max(map(abs, values), default=0) > SYMBOL_MAX:
            raise DamagedError("a symbol has more than 16 bits")
        return np.array(values, np.int64).reshape(indexes.shape)

    def check_end(self) -> None:
        """Check the four symbols at the end, which decoders need not read."""
        for _ in range(4):
            if self.decode(FREE) != 0:
                raise DamagedError("the end of a stream is wrong")
        if self.state != 2**31 or next(self.words, None) is not None:
            raise DamagedError("a stream goes on behind its end")


# -- latents ------------------------------------------------------------------------


def decode(data: bytes, weights_file: bytes) -> tuple[dict[str, Any], Latents]:
    """Decode a `.tic` file. Returns the fields of its header, and its latents.

    Args:
        data: the bytes of the file.
        weights_file: the bytes of the weights file that wrote it.

    Raises DamagedError if the file breaks a rule of the format.
    """
    header, sections = read_container(data)
    if hashlib.sha256(weights_file).digest()[:4] != header["fingerprint"]:
        raise DamagedError("the file was written with other weights")
    weights = read_weights(weights_file)
    assert weights.config["model"] == header["model"]
    joint = header["model"] == "icat"
    stride = 32 if joint else 64
    size = (-(-header["height"] // stride), -(-header["width"] // stride))

    z_stream = Stream(sections[1], Tables(weights, "z"))
    z = z_stream.read_block(np.tile(np.arange(weights.config["N"]), (*size, 1)))
    z_hat = (z + weights.exact["z.centres"]).astype(np.float64)
    y_stream = Stream(sections[2], Tables(weights, "y"))
    y, y_hat = (decode_rows if joint else decode_wavefront)(weights, z_hat, y_stream.read_block)
    for stream in (z_stream, y_stream):
        stream.check_end()

    crc = binascii.crc_hqx(z.astype("<i2").tobytes(), 0xFFFF)
    if binascii.crc_hqx(y.astype("<i2").tobytes(), crc) != header["symbols"]:
        raise DamagedError("the CRC of the symbols is wrong")
    return header, Latents(z, y, y_hat, z_stream.outliers + y_stream.outliers)


ReadBlock = Callable[[NDArray[np.int64]], NDArray[np.int64]]


def table_numbers(weights: Weights, scale: Maps) -> NDArray[np.int64]:
    """The number of thresholds that each scale reaches."""
    return np.searchsorted(weights.exact["y.thresholds"], scale, side="right")


def decode_rows(
    weights: Weights, z_hat: Maps, read_block: ReadBlock
) -> tuple[NDArray[np.int64], Maps]:
    """Symbols and ŷ of `icat`."""
    means, scales = joint_parameters(weights, z_hat)
    indexes = table_numbers(weights, scales)
    y = np.stack([read_block(row) for row in indexes])
    return y, y * 2.0**GRID_Y + means


def decode_wavefront(
    weights: Weights, z_hat: Maps, read_block: ReadBlock
) -> tuple[NDArray[np.int64], Maps]:
    """Symbols and ŷ of a TIC model."""
    features = hyper_synthesis(weights, z_hat)
    h, w = features.shape[:2]
    context = Context(weights, features)
    y = np.zeros((h, w, weights.config["M"]), np.int64)
    for t in range(w + 3 * (h - 1)):
        positions = [(i, t - 3 * i) for i in range(h) if 0 <= t - 3 * i < w]
        if not positions:
            continue
        pairs = [context.parameters(i, j) for i, j in positions]
        means, scales = (np.stack(numbers) for numbers in zip(*pairs, strict=True))
        symbols = read_block(table_numbers(weights, scales))
        for (i, j), symbol, mean in zip(positions, symbols, means, strict=True):
            y[i, j] = symbol
            context.set(i, j, symbol * 2.0**GRID_Y + mean)
    return y, context.y_hat()


# -- after the latents --------------------------------------------------------------


def gain(weights: Weights, quality: int) -> Maps:
    """The factors of ŷ, (M,).

    Args:
        quality: the quality as the header stores it.
    """
    levels = len(weights.config["lambdas"])
    if levels == 1:
        return np.ones(weights.config["M"])
    level = quality / 4096 - 1
    low = min(int(level), levels - 2)
    table = weights.tensors["float.gains.log_down"].astype(np.float64)
    return np.exp(table[low] * (1 - (level - low)) + table[low + 1] * (level - low))


def alpha_plane(payload: bytes, width: int, height: int) -> NDArray[np.uint8]:
    """The alpha plane (height, width) of a section."""
    steps = np.frombuffer(zlib.decompress(payload), np.uint8).reshape(height, width)
    return steps.cumsum(1, dtype=np.uint8)
