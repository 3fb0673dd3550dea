"""The entropy coder and its guard: exact round trips, and safety on any bytes."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ticodec.entropy.rans import EXCESS_MAX, TOTAL, WORST, Reader, Tables, Writer
from ticodec.errors import BadInputError
from ticodec.training.export import tables


def gaussian() -> Tables:
    made = tables.gaussian_tables()
    return Tables(made["halves"].numpy(), made["frequencies"].numpy())


TABLES = gaussian()


def coded(values: np.ndarray, indexes: np.ndarray) -> bytes:
    writer = Writer()
    writer.write(values, indexes, TABLES)
    return writer.finish()


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(-32767, 32767), st.integers(0, 63)), min_size=1, max_size=50),
    st.integers(0, 50),
)
def test_round_trip_in_two_calls(pairs: list[tuple[int, int]], cut: int) -> None:
    values, indexes = (np.array(part, np.int64) for part in zip(*pairs, strict=True))
    writer = Writer()
    writer.write(values[:cut], indexes[:cut], TABLES)
    writer.write(values[cut:], indexes[cut:], TABLES)
    reader = Reader(writer.finish(), len(values))
    back = [reader.read(indexes[:cut], TABLES), reader.read(indexes[cut:], TABLES)]
    assert np.array_equal(np.concatenate(back), values)


def test_streams_of_few_rare_symbols_do_not_overrun_the_encoder() -> None:
    for count in range(6):
        values, indexes = np.full(count, 3), np.zeros(count, np.int64)
        assert Reader(coded(values, indexes), count).read(indexes, TABLES).tolist() == [3] * count


def test_rate_is_the_entropy() -> None:
    random = np.random.default_rng(0)
    scale = tables.scale_grid()
    indexes = random.integers(0, 50, 40_000)
    values = np.round(random.normal(0, scale[indexes])).astype(np.int64)
    cdfs = [np.array(cdf) for cdf in TABLES.cdfs]
    bits = 0.0
    for value, index in zip(values, indexes, strict=True):
        half = TABLES.halves[index]
        at = int(np.clip(value, -half, half)) + half
        bits -= np.log2((cdfs[index][at + 1] - cdfs[index][at]) / TOTAL)
        bits += 4 * (abs(value) >= half)  # at least the digit count of an escape
    # What is not in this sum: the coder's last state, and the digits of a few escapes.
    assert 0 <= len(coded(values, indexes)) * 8 - bits <= 100


def test_more_symbols_than_announced_are_refused() -> None:
    reader = Reader(coded(np.zeros(4, np.int64), np.zeros(4, np.int64)), 4)
    reader.read(np.zeros(3, np.int64), TABLES)
    with pytest.raises(BadInputError, match="too early"):
        reader.read(np.zeros(2, np.int64), TABLES)


def test_a_value_beyond_every_escape_is_an_error_not_a_wrong_stream() -> None:
    with pytest.raises(ValueError, match="too far outside"):
        coded(np.array([EXCESS_MAX + 1000]), np.array([0]))


@pytest.mark.parametrize("frequencies", [[1, TOTAL - 1, 0], [1, 1, 1], [TOTAL - 2, 1]])
def test_unsafe_tables_are_refused(frequencies: list[int]) -> None:
    with pytest.raises(BadInputError, match="damaged weights"):
        Tables(np.array([1]), np.array(frequencies))


def test_no_table_can_decode_an_escape_symbol_of_the_library() -> None:
    for cdf, size in zip(TABLES.cdfs, TABLES.sizes, strict=True):
        assert size == len(cdf)
        assert cdf[-1] == cdf[-2] == TOTAL  # the library's escape slot has frequency 0
        assert all(low < high for low, high in pairwise(cdf[:-1]))


class CountingRans:
    """rANS decoding as compressai does it, counting the 32-bit words it reads."""

    def __init__(self, data: bytes) -> None:
        self.words = np.frombuffer(data, "<u4")
        self.state = int(self.words[0]) | int(self.words[1]) << 32
        self.used = 2

    def read(self, cdf: list[int]) -> int:
        low = self.state & 0xFFFF
        symbol = next(i for i, bound in enumerate(cdf) if bound > low) - 1
        start, width = cdf[symbol], cdf[symbol + 1] - cdf[symbol]
        self.state = width * (self.state >> 16) + low - start
        if self.state < 1 << 31:
            self.state = self.state << 32 | int(self.words[self.used])
            self.used += 1
        return symbol


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=120).map(lambda b: b[: len(b) // 4 * 4]), st.integers(0, 2**32))
def test_padding_is_never_left(noise: bytes, seed: int) -> None:
    """On any bytes n symbols stay inside 4·n + 8 bytes of padding, and agree with compressai."""
    indexes = np.random.default_rng(seed).integers(0, 64, 60)
    padded = noise + bytes(4 * len(indexes) + 8)
    model = CountingRans(padded)
    expected = [model.read(TABLES.cdfs[i]) - TABLES.halves[i] for i in indexes]
    assert 4 * model.used <= len(padded)
    reader = Reader(noise, len(indexes))
    raw = reader._decoder.decode_stream(indexes.tolist(), *TABLES.arguments())
    assert raw == expected


FUZZ = """
import numpy as np
from test_rans import TABLES
from ticodec.entropy.rans import Reader
from ticodec.errors import BadInputError
random = np.random.default_rng(7)
outcomes = {"read": 0, "refused": 0}
for trial in range(3000):
    data = random.bytes(int(random.integers(0, 400)))
    if trial % 3 == 0:
        data = bytes([int(random.integers(0, 2)) * 255]) * len(data)
    reader = Reader(data, 4000)
    try:
        for _ in range(8):
            values = reader.read(random.integers(0, 64, 500), TABLES)
            assert len(values) == 500
        outcomes["read"] += 1
    except BadInputError:
        outcomes["refused"] += 1
assert min(outcomes.values()) > 0, outcomes
print(outcomes)
"""


def test_random_streams_past_the_checksum_never_crash_the_process() -> None:
    """In a process of its own, so that a crash is seen as one."""
    done = subprocess.run(
        [sys.executable, "-c", FUZZ], cwd=__file__.rsplit("/", 1)[0], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_worst_case_of_one_value_is_what_the_padding_counts_on() -> None:
    values = np.array([32767])
    reader = Reader(coded(values, np.array([0])), 1)
    calls = []
    decode = reader._decoder.decode_stream

    class Counting:
        def decode_stream(self, indexes: list[int], *rest: object) -> list[int]:
            calls.append(len(indexes))
            return decode(indexes, *rest)

    reader._decoder = Counting()
    assert reader.read(np.array([0]), TABLES)[0] == 32767
    assert sum(calls) <= WORST
