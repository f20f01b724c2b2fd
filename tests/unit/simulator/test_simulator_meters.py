"""No way of counting lets more through than its limit says, and whoever waits as told is let in."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.simulator.meters import Mode, make_meter

PERIOD = 60.0
attempts = st.lists(st.tuples(st.floats(0, 20), st.integers(1, 12)), max_size=60)
limits = st.integers(12, 60)


def admitted(mode: Mode, limit: int, steps: list[tuple[float, int]], offset: float = 0.0) -> list[tuple[float, int]]:
    """Times and amounts that a client gets who asks again and again without waiting."""
    meter = make_meter(mode, limit, PERIOD, offset)
    now, got = 0.0, []
    for pause, amount in steps:
        now += pause
        if meter.wait(amount, now) == 0:
            meter.charge(amount, now)
            got.append((now, amount))
    return got


def most_in_window(got: list[tuple[float, int]], seconds: float) -> float:
    """The largest sum in any half-open window of that length."""
    return max((sum(a for t, a in got if start <= t < start + seconds - 1e-5) for start, _ in got), default=0)


@given(limits, attempts)
def test_a_sliding_minute_never_holds_more_than_the_limit(limit: int, steps: list[tuple[float, int]]) -> None:
    """Half-open: what happened a minute ago no longer counts."""
    assert most_in_window(admitted(Mode.SLIDING, limit, steps), PERIOD) <= limit


def test_a_sliding_minute_lasts_a_minute() -> None:
    """Not a moment less."""
    meter = make_meter(Mode.SLIDING, 3, PERIOD)
    meter.charge(3, 10.0)
    assert meter.wait(1, 69.9) == pytest.approx(0.1)
    assert meter.wait(1, 70.0) == 0


@given(limits, attempts, st.floats(0, 60))
def test_no_calendar_minute_of_the_server_holds_more_than_the_limit(
    limit: int, steps: list[tuple[float, int]], offset: float
) -> None:
    """Whatever the difference between the clocks."""
    sums: dict[int, int] = {}
    for at, amount in admitted(Mode.FIXED, limit, steps, offset):
        window = math.floor((at + offset) / PERIOD)
        sums[window] = sums.get(window, 0) + amount
    assert all(total <= limit for total in sums.values())


@pytest.mark.parametrize(("mode", "part"), [(Mode.BUCKET, 1.0), (Mode.BUCKET_10S, 1 / 6)])
@given(limit=limits, steps=attempts, seconds=st.floats(1, 120))
def test_a_bucket_never_lets_more_through_than_it_holds_and_leaks(
    mode: Mode, part: float, limit: int, steps: list[tuple[float, int]], seconds: float
) -> None:
    """In any window of t seconds at most capacity + t · limit / 60; one amount above the capacity counts as capacity."""
    got = admitted(mode, limit, steps)
    capacity = max([limit * part, *(float(amount) for _, amount in got)])
    assert most_in_window(got, seconds) <= capacity + seconds * limit / PERIOD + 1e-3


@pytest.mark.parametrize("mode", list(Mode))
@given(limit=limits, steps=attempts, amount=st.integers(1, 12), offset=st.floats(0, 60))
def test_whoever_waits_as_told_is_let_in(
    mode: Mode, limit: int, steps: list[tuple[float, int]], amount: int, offset: float
) -> None:
    """The wait is enough for someone who is alone; a wait of nothing means "now"."""
    meter = make_meter(mode, limit, PERIOD, offset)
    now = 0.0
    for pause, taken in steps:
        now += pause
        if meter.wait(taken, now) == 0:
            meter.charge(taken, now)
    wait = meter.wait(amount, now)
    assert 0 <= wait <= PERIOD + 1e-6 or mode in (Mode.BUCKET, Mode.BUCKET_10S)
    assert meter.wait(amount, now + wait + 1e-3) == 0


@pytest.mark.parametrize("mode", [Mode.BUCKET, Mode.BUCKET_10S])
@given(limit=limits, steps=attempts, amount=st.integers(1, 12))
def test_a_bucket_s_refusal_adds_up(mode: Mode, limit: int, steps: list[tuple[float, int]], amount: int) -> None:
    """In the whole numbers that are told: wait = (Used + Requested − Limit) · 60 / Limit."""
    meter = make_meter(mode, limit, PERIOD)
    now = 0.0
    for pause, taken in steps:
        now += pause
        if meter.wait(taken, now) == 0:
            meter.charge(taken, now)
    wait = meter.wait(amount, now)
    if wait:
        assert wait == (meter.told_used(amount, now) + amount - limit) * PERIOD / limit


@pytest.mark.parametrize("mode", list(Mode))
def test_full_again_after_the_told_reset(mode: Mode) -> None:
    """`reset` is the time until nothing is used any more."""
    meter = make_meter(mode, 60, PERIOD)
    meter.charge(7, 100.0)
    assert meter.used(100.0) == 7
    assert meter.used(100.0 + meter.reset(100.0)) == pytest.approx(0, abs=1e-9)
    assert meter.reset(100.0 + 2 * PERIOD) == 0


@pytest.mark.parametrize("mode", list(Mode))
def test_a_limit_may_change_while_it_is_used(mode: Mode) -> None:
    """What was used stays used; the new limit holds at once."""
    meter = make_meter(mode, 60, PERIOD)
    meter.charge(10, 0.0)
    meter.resize(10, 0.0)
    assert meter.wait(1, 0.0) > 0
    meter.resize(600, 0.0)
    assert meter.wait(1, 0.0) == 0
