"""The three backends of `Writer` and `Reader` give the same streams, values and errors."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from coders import each, param
from hypothesis import given, settings
from hypothesis import strategies as st

from ticodec.entropy.rans import BACKENDS, EXCESS_MAX, TOTAL, Reader, Tables, Writer, backends
from ticodec.entropy.rans_compressai import CompressaiDecoder
from ticodec.entropy.rans_escapes import WORST, EscapeReader
from ticodec.entropy.rans_python import PythonDecoder
from ticodec.errors import BadInputError, TicodecError

pairs = pytest.mark.parametrize(
    ("one", "other"), [param(*pair) for pair in itertools.combinations(BACKENDS, 2)]
)


def make_tables(halves: list[int], seed: int) -> Tables:
    """Tables of these sizes. Some are flat, some have almost all frequency in one symbol."""
    random = np.random.default_rng(seed)
    frequencies = []
    for half in halves:
        weights = random.random(2 * half + 1) ** random.choice([1, 5, 40])
        part = 1 + np.floor(weights / weights.sum() * (TOTAL - 2 * half - 1)).astype(np.int64)
        part[part.argmax()] += TOTAL - part.sum()
        frequencies.append(part)
    return Tables(np.array(halves), np.concatenate(frequencies))


class Case:
    """Values, their tables, and how the values are split into calls."""

    def __init__(self, halves: list[int], sizes: list[int], seed: int) -> None:
        random = np.random.default_rng(seed)
        self.tables = make_tables(halves, seed)
        self.count = sum(sizes)
        self.cuts = np.cumsum(sizes)[:-1]
        self.indexes = random.integers(0, len(halves), self.count)
        ends = self.tables.halves[self.indexes]
        inside = np.round(random.normal(0, ends / 2))
        outside = ends + np.floor(16 ** random.uniform(0, 4, self.count) - 1)
        which = random.choice(3, self.count, p=[0.8, 0.15, 0.05])
        sign = random.choice([-1, 1], self.count)
        self.values = np.where(which == 0, inside, sign * np.where(which == 1, outside, ends))
        self.values = self.values.astype(np.int64)

    def __repr__(self) -> str:
        return f"{self.count} values, K = {self.tables.halves.tolist()}"

    def write(self, name: str) -> bytes:
        writer = Writer(name)
        for values, indexes in zip(*(np.split(x, self.cuts) for x in self.arrays), strict=True):
            writer.write(values, indexes, self.tables)
        return writer.finish()

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        return self.values, self.indexes

    def read(self, name: str, data: bytes) -> list[int] | str:
        """The values, or the error."""
        reader, values = Reader(data, self.count, name), []
        try:
            for indexes in np.split(self.indexes, self.cuts):
                values += reader.read(indexes, self.tables).tolist()
        except BadInputError as error:
            return str(error)
        return values


cases = st.builds(
    Case,
    st.lists(st.integers(1, 255), min_size=1, max_size=6),
    st.lists(st.integers(0, 60), min_size=1, max_size=5),
    st.integers(0, 2**32),
)


@pairs
@settings(deadline=None, max_examples=60)
@given(case=cases)
def test_all_coders_write_the_same_and_read_each_other(one: str, other: str, case: Case) -> None:
    stream = case.write(one)
    assert stream == case.write(other)
    assert case.read(one, stream) == case.read(other, stream) == case.values.tolist()


@pairs
@settings(deadline=None, max_examples=60)
@given(case=cases, data=st.data())
def test_damage_has_the_same_result_in_all(one: str, other: str, case: Case, data: Any) -> None:
    """Truncated, mutated and foreign streams give the same values or the same error."""
    stream = bytearray(case.write(one))
    del stream[data.draw(st.integers(0, len(stream))) :]
    for _ in range(data.draw(st.integers(0, 3)) if stream else 0):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    foreign = data.draw(st.one_of(st.just(b""), st.binary(max_size=80)))
    damaged = bytes(stream) + foreign
    assert case.read(one, damaged) == case.read(other, damaged)


@pairs
def test_streams_of_one_repeated_byte(one: str, other: str) -> None:
    case = Case([1, 200, 3], [50, 50], 1)
    results = set()
    for byte, length in itertools.product((0, 1, 0x7F, 0x80, 0xFF), range(12)):
        data = bytes([byte]) * length
        assert case.read(one, data) == case.read(other, data)
        results.add(str(case.read(one, data))[:7])
    assert "damaged" in results
    assert len(results) > 1


@each
def test_values_at_the_ends_of_escapes(name: str) -> None:
    tables = make_tables([1, 255], 0)
    indexes = np.repeat([0, 1], 14)
    excess = [0, 1, 15, 16, 255, 256, EXCESS_MAX]
    values = np.array([s * (k + e) for k in (1, 255) for e in excess for s in (-1, 1)])
    writer = Writer(name)
    writer.write(values, indexes, tables)
    assert Reader(writer.finish(), 28, name).read(indexes, tables).tolist() == values.tolist()


@each
@pytest.mark.parametrize("value", [1 << 17, 2**31, 2**32, 2**63 - 1, -(2**31), -(2**63)])
def test_a_refused_call_writes_nothing(name: str, value: int) -> None:
    tables = make_tables([3], 0)
    stream = {}
    for wrong in (False, True):
        writer = Writer(name)
        writer.write(np.array([2, -2]), np.array([0, 0]), tables)
        if wrong:
            with pytest.raises(ValueError, match="too far outside"):
                writer.write(np.array([1, 5, value]), np.array([0, 0, 0]), tables)
            with pytest.raises(ValueError, match="same length"):
                writer.write(np.array([1]), np.array([0, 0]), tables)
            for index in (-1, 1, 2**16, 2**40, -(2**16)):
                with pytest.raises(IndexError, match="no entropy table"):
                    writer.write(np.array([1, 1]), np.array([0, index]), tables)
        stream[wrong] = writer.finish()
    assert stream[True] == stream[False]


@each
def test_reading_refuses_unknown_tables_and_too_many_values(name: str) -> None:
    tables = make_tables([3], 0)
    for index in (-1, 1, 2**16, 2**40, -(2**16)):
        with pytest.raises(IndexError, match="no entropy table"):
            Reader(b"abcd" * 9, 9, name).read(np.array([0, index]), tables)
    reader = Reader(b"abcd" * 9, 3, name)
    reader.read(np.zeros(3, np.int64), tables)
    with pytest.raises(BadInputError, match="ends too early"):
        reader.read(np.zeros(1, np.int64), tables)


@each
def test_a_writer_can_be_used_again(name: str) -> None:
    case = Case([5], [20], 3)
    writer, streams = Writer(name), []
    for _ in range(2):
        writer.write(case.values, case.indexes, case.tables)
        streams.append(writer.finish())
    assert streams == [case.write(name)] * 2


@each
def test_only_the_native_coder_has_capsules(name: str) -> None:
    objects = (Writer(name), Reader(b"", 0, name))
    assert {made.native is None for made in objects} == {name != "native"}
    assert (Case([1], [1], 0).tables.native is None) == ("native" not in backends())


def test_the_best_available_coder_is_used() -> None:
    assert (Writer().native is None) == ("native" not in backends())
    assert backends()[-1] == "python"


def test_a_missing_coder_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = BACKENDS["compressai"]._replace(load=lambda: None)
    monkeypatch.setitem(BACKENDS, "compressai", gone)
    with pytest.raises(TicodecError, match="the entropy coder compressai is missing"):
        Writer("compressai")


ALONE = """
import hashlib, sys
sys.modules["compressai"] = None
import numpy as np
from ticodec.entropy import native
from ticodec.entropy.rans import Reader, Tables, Writer, backends
assert backends() == ["python"] and not native.active(), backends()
tables = Tables(np.array([1, 2]), np.array([9, 65517, 10, 7, 1000, 60000, 4000, 529]))
values, indexes = np.arange(400) % 9 - 4, np.arange(400) % 2
writer = Writer()
writer.write(values, indexes, tables)
stream = writer.finish()
assert Reader(stream, 400).read(indexes, tables).tolist() == values.tolist()
print(hashlib.sha256(stream).hexdigest())
"""


def test_python_gives_the_same_without_the_other_two() -> None:
    off = os.environ | {"TICODEC_NATIVE": "0"}
    done = subprocess.run([sys.executable, "-c", ALONE], env=off, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    tables = Tables(np.array([1, 2]), np.array([9, 65517, 10, 7, 1000, 60000, 4000, 529]))
    writer = Writer()
    writer.write(np.arange(400) % 9 - 4, np.arange(400) % 2, tables)
    assert done.stdout.strip() == hashlib.sha256(writer.finish()).hexdigest()


# -- what makes compressai's coder safe ---------------------------------------------


class Counted:
    """A decoder that counts the symbols, and the words it reads after the start of the stream."""

    def __init__(self, data: bytes) -> None:
        self.inside = PythonDecoder(data)
        self.inside._words = self.counted(self.inside._words)
        self.symbols = self.words = 0

    def counted(self, words: Any) -> Any:
        for word in words:
            self.words += 1
            yield word

    def decode(self, indexes: np.ndarray, slices: Any) -> np.ndarray:
        self.symbols += len(indexes)
        return self.inside.decode(indexes, slices)


@settings(deadline=None, max_examples=200)
@given(case=cases, noise=st.binary(max_size=80))
def test_no_read_is_beyond_the_padding(case: Case, noise: bytes) -> None:
    """On any bytes a value takes at most WORST symbols, and a symbol at most one word (4 bytes)."""
    decoder = Counted(noise)
    reader = EscapeReader(decoder, case.count)
    try:
        for indexes in np.split(case.indexes, case.cuts):
            reader.read(indexes, case.tables)
    except BadInputError:
        pass
    assert decoder.words <= decoder.symbols <= WORST * case.count


def test_the_buffer_is_padded_for_all_words_that_can_be_read() -> None:
    streams: list[bytes] = []

    class Coder:
        class RansDecoder:
            set_stream = staticmethod(streams.append)

    CompressaiDecoder(Coder, b"abc", 10)
    assert streams == [b"abc" + bytes(4 * 10 + 8)]


def test_no_table_can_decode_an_escape_symbol_of_compressai() -> None:
    slices = make_tables([1, 7, 255], 5).slices
    for cdf, size in zip(slices.cdfs, slices.sizes, strict=True):
        assert size == len(cdf)
        assert cdf[-1] == cdf[-2] == TOTAL  # the escape's slot has frequency 0
        assert all(low < high for low, high in itertools.pairwise(cdf[:-1]))
