"""When training phases end: by minutes, by steps, by the clock. Impossible limits are refused."""

from __future__ import annotations

import pytest

from ticodec.errors import TicodecError, UsageError
from ticodec.training.parts import PartOptions
from ticodec.training.schedule import CAUTION, SPARE_SECONDS, Limits, Schedule


class Clock:
    """A clock that advances only when a test changes it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_minutes_and_steps_end_the_stable_phase() -> None:
    clock = Clock()
    schedule = Schedule(Limits(max_minutes=2, max_steps=10), clock.now - 500, clock)
    assert not schedule.stable_ended(9)
    assert schedule.stable_ended(10)
    clock.now += 119
    assert not schedule.stable_ended(0)
    clock.now += 1
    assert schedule.stable_ended(0)


def test_a_run_without_limits_never_ends() -> None:
    clock = Clock()
    schedule = Schedule(Limits(), clock.now, clock)
    clock.now += 1e9
    assert not schedule.stable_ended(10**9)
    assert not Limits().anneals
    assert not Limits(anneal_minutes=0).anneals


def test_annealing_by_minutes_begins_when_it_is_started() -> None:
    clock = Clock()
    schedule = Schedule(Limits(max_steps=1, anneal_minutes=2), clock.now, clock)
    clock.now += 300
    schedule.begin_annealing(100)
    assert schedule.annealed() == 0
    clock.now += 30
    assert schedule.annealed() == 0.25
    clock.now += 90
    assert schedule.annealed() == 1


def test_a_run_by_the_clock_ends_at_its_deadline() -> None:
    """The start took one of 11 minutes. 70 % of the other ten are for annealing."""
    clock = Clock()
    began = clock.now
    clock.now += 60
    schedule = Schedule(Limits(minutes=11, anneal_part=0.7), began, clock)
    clock.now = began + 60 + 179
    assert not schedule.stable_ended(10**9)
    clock.now = began + 60 + 180
    assert schedule.stable_ended(0)
    clock.now += 8  # writing and validation
    schedule.begin_annealing(8)
    end = began + 660 - 8 * CAUTION - SPARE_SECONDS
    assert schedule.annealed() == 0
    clock.now = (clock.now + end) / 2
    assert schedule.annealed() == pytest.approx(0.5)
    clock.now = end - 0.01
    assert schedule.annealed() < 1
    clock.now = end
    assert schedule.annealed() >= 1


def test_a_whole_run_may_be_annealing() -> None:
    clock = Clock()
    schedule = Schedule(Limits(minutes=1, anneal_part=1), clock.now, clock)
    assert schedule.stable_ended(0)


def test_too_little_time_left_to_anneal() -> None:
    clock = Clock()
    schedule = Schedule(Limits(minutes=1), clock.now, clock)
    clock.now += 50
    schedule.begin_annealing(30)
    assert schedule.annealed() >= 1


def test_minutes_that_the_start_takes() -> None:
    clock = Clock()
    began = clock.now
    clock.now += 75
    with pytest.raises(TicodecError, match=r"the 1 minutes were over .* took 75 s"):
        Schedule(Limits(minutes=1), began, clock)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"minutes": 0}, "`minutes` must be a number above 0"),
        ({"minutes": float("nan")}, "`minutes` must be a number above 0"),
        ({"minutes": float("inf")}, "`minutes` must be a number above 0"),
        ({"anneal_minutes": float("inf")}, "`anneal_minutes` must be 0 or a positive number"),
        ({"max_steps": -1}, "`max_steps` must be 0 or a positive number"),
        ({"minutes": 1, "max_minutes": 1}, "leave out `max_minutes`"),
        ({"minutes": 1, "max_steps": 1}, "leave out `max_steps`"),
        ({"minutes": 1, "anneal_minutes": 1}, "leave out `anneal_minutes`"),
        ({"anneal_part": 0.5}, "`anneal_part` is a part of `minutes`"),
        ({"minutes": 1, "anneal_part": 0}, "`anneal_part` must be above 0"),
        ({"minutes": 1, "anneal_part": 1.1}, "`anneal_part` must be above 0 and at most 1"),
    ],
)
def test_impossible_limits(limits: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Limits(**limits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"part_mib": 0}, "`part_mib` must be at least 1"),
        ({"part_minutes": 1}, "`part_minutes` needs `part_mib`"),
        ({"part_mib": 1, "part_minutes": 0}, "`part_minutes` must be above 0"),
    ],
)
def test_impossible_options_of_parts(options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PartOptions(**options)
