"""Rounding that counts bits takes a step towards zero exactly if that lowers the cost."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ticodec.codec import Codec
from ticodec.entropy.rans_tables import TOTAL
from ticodec.entropy.rounding import MAGNITUDES, Rounding, savings_of

TABLES = 3
steps = st.one_of(
    st.floats(-3, 3), st.floats(-MAGNITUDES - 3, MAGNITUDES + 3), st.integers(-(2**15), 2**15)
)
#: A latent minus its mean, the number of its table, and the cost of an error of its channel.
cases = st.tuples(steps, st.integers(0, TABLES - 1), st.floats(0, 30, width=32))
savings = st.lists(
    st.lists(st.floats(-2, 20, width=32), min_size=MAGNITUDES, max_size=MAGNITUDES),
    min_size=TABLES, max_size=TABLES,
)  # fmt: skip


def rounded(step: float, saved: list[float], error: float) -> set[int]:
    """The symbols that one latent may become by the rule: two if both are equally good."""
    nearest = round(step)
    if not 1 <= abs(nearest) <= MAGNITUDES:
        return {nearest}
    nearer = nearest - int(math.copysign(1, nearest))
    costs = error * ((step - nearer) ** 2 - (step - nearest) ** 2)
    gains = saved[abs(nearest) - 1]
    if math.isclose(gains, costs, rel_tol=1e-9, abs_tol=1e-9):
        return {nearer, nearest}
    return {nearer if gains > costs else nearest}


@settings(max_examples=60, deadline=None)
@given(latents=st.lists(cases, min_size=1, max_size=8), savings=savings)
def test_the_rule(latents: list[tuple[float, int, float]], savings: list[list[float]]) -> None:
    values, indexes, errors = (np.array([column]) for column in zip(*latents, strict=True))
    rounding = Rounding(errors[0].astype(np.float32), np.array(savings, np.float32))
    symbols = rounding(values.astype(np.float64), indexes)
    assert symbols.shape == values.shape
    assert symbols.dtype == np.int64
    nearest = np.rint(values)
    steps_taken = (nearest - symbols) * np.sign(nearest)
    assert set(steps_taken.flatten()) <= {0, 1}, "none or one, towards zero"
    assert (symbols == nearest)[np.abs(nearest) > MAGNITUDES].all()
    for symbol, (step, index, error) in zip(symbols[0].tolist(), latents, strict=True):
        assert symbol in rounded(step, savings[index], error)


@pytest.mark.parametrize("cost", [0.0, 1e9])
def test_the_price_of_errors_decides(tiny: Codec, cost: float) -> None:
    """If errors cost nothing, every symbol that saves bits steps. If they cost much, none does."""
    savings = savings_of(tiny.entropy.y_tables)
    rounding = Rounding(np.full(5, cost, np.float32), savings)
    table = np.full((1, 5), (savings[:, :7] > 0).all(1).argmax())
    values = np.array([[-1.4, -0.6, 0.4, 0.6, 7.1]])
    expected = [-1, -1, 0, 1, 7] if cost else [0, 0, 0, 0, 6]
    assert rounding(values, table).tolist() == [expected]


def test_savings_are_differences_of_the_tables(tiny: Codec) -> None:
    tables = tiny.entropy.y_tables
    savings = savings_of(tables)
    assert savings.shape == (len(tables.halves), MAGNITUDES)
    first, seen = 0, set()
    for row, half in zip(savings, tables.halves, strict=True):
        frequencies = tables.frequencies[first : first + 2 * half + 1].tolist()
        first += 2 * int(half) + 1
        assert sum(frequencies) <= TOTAL
        bits = [-math.log2(count / TOTAL) for count in frequencies[half : 2 * half]]
        for magnitude, saved in enumerate(row.tolist()):
            inside = magnitude + 1 < half  # no escape, which is the last entry
            seen.add(inside)
            wanted = bits[magnitude + 1] - bits[magnitude] if inside else 0.0
            assert saved == pytest.approx(wanted, abs=1e-5)
    assert seen == {False, True}
