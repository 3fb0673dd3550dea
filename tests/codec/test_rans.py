"""The rANS coder: exact round trips, and safety on any bytes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ticodec.entropy.rans import EXCESS_MAX, TOTAL, Reader, Tables, Writer
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


def test_the_rate_equals_the_entropy() -> None:
    random = np.random.default_rng(0)
    scale = tables.scale_grid()
    indexes = random.integers(0, 50, 40_000)
    values = np.round(random.normal(0, scale[indexes])).astype(np.int64)
    cdfs = [np.array(cdf) for cdf in TABLES.slices.cdfs]
    bits = 0.0
    for value, index in zip(values, indexes, strict=True):
        half = TABLES.halves[index]
        at = int(np.clip(value, -half, half)) + half
        bits -= np.log2((cdfs[index][at + 1] - cdfs[index][at]) / TOTAL)
        bits += 4 * (abs(value) >= half)  # an escape codes at least its digit count
    # This sum does not include the coder's last state, and the digits of a few escapes.
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
    """It runs in a process of its own, so that a crash is noticed."""
    done = subprocess.run(
        [sys.executable, "-c", FUZZ], cwd=__file__.rsplit("/", 1)[0], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
