"""Slots: as many as rate and answers' times need, fewer after a spell of losses."""

from __future__ import annotations

import math

import pytest

from cache_service.upstream.concurrency import ENOUGH, FLOOR, LONGEST_PAUSE, Slots


def unknown() -> None:
    """No limit is known."""


def spell(slots: Slots, calls: int, start: float = 0.0) -> list[float]:
    """So many calls, one after the other, each lost; the pauses that follow."""
    return [slots.lost(started_at=start + number, now=start + number + 0.5) for number in range(calls)]


def test_where_no_limit_is_known_all_configured_slots_may_be_used() -> None:
    slots = Slots(most=3)
    for number in range(3):
        assert slots.free_at(0.0, unknown) == 0.0
        slots.take(number, 0.0)
    assert slots.free_at(0.0, unknown) == math.inf
    slots.release(0, 1.0)
    assert slots.free_at(1.0, unknown) == 1.0


@pytest.mark.parametrize(
    ("per_minute", "seconds", "needed"), [(50, 22, 23), (250, 22, 115), (5, 22, 3), (1, 22, FLOOR)]
)
def test_slots_follow_from_rate_and_latency(per_minute: float, seconds: float, needed: int) -> None:
    """Little's law and a quarter more."""
    slots = Slots(most=1_000)
    now = 0.0
    for number in range(ENOUGH):
        slots.take(number, now)
        now += seconds
        slots.release(number, now, answered=True)
    allowed = 0
    while slots.free_at(now, lambda: per_minute / 60) == now:
        slots.take(1_000 + allowed, now)
        allowed += 1
    assert allowed == needed


def test_the_configured_maximum_is_never_exceeded() -> None:
    slots = Slots(most=8)
    for number in range(8):
        slots.take(number, 0.0)
    assert slots.free_at(0.0, lambda: 1e6) == math.inf


def test_slow_calls_after_fast_ones_find_their_slots_in_time() -> None:
    """A call a second; after a hundred of 5 s come calls of 60 s, and not one of them has to wait for a slot."""
    slots, running = Slots(most=1_000), dict[int, float]()
    for second in range(300):
        now = float(second)
        for number in [number for number, end in running.items() if end <= now]:
            slots.release(number, now, answered=True)
            del running[number]
        assert slots.free_at(now, lambda: 1.0) == now
        slots.take(second, now)
        running[second] = now + (5 if second < 100 else 60)


def test_hung_calls_take_no_more_slots_than_the_configured() -> None:
    slots = Slots(most=50)
    started = 0
    for second in range(1_000):
        if slots.free_at(float(second), lambda: 1.0) == second:
            slots.take(second, float(second))
            started += 1
    assert started == 50


def test_calls_that_fail_together_cut_once() -> None:
    """Sixty calls that fail together are one sign, not sixty."""
    slots = Slots(most=60, needed=60)
    for _ in range(60):
        slots.lost(started_at=0.0, now=10.0)
    assert int(slots.limit) == 42


def test_a_tenth_of_the_calls_lost_is_no_sign() -> None:
    """Ordinary illness must not eat the slots: each loss would take more than ten answers bring."""
    slots = Slots(most=60)
    for number in range(2_000):
        if number % 10 == 0:
            assert slots.lost(started_at=float(number), now=number + 0.5) == 0
        else:
            slots.answered()
    assert slots.limit == 60


def test_in_a_spell_the_pauses_grow_to_a_bound() -> None:
    pauses = spell(Slots(most=60), 15)
    assert pauses[:6] == [0] * 6
    assert pauses[6:9] == [1.0, 2.0, 4.0]
    assert set(pauses[9:]) == {LONGEST_PAUSE}


def test_a_dead_upstream_costs_seven_tenths_of_the_slots_once() -> None:
    """The pauses spare it; when it answers again the rate must be there again, too."""
    for most, left in ((60, 42), (2, 2), (1, 1)):
        slots = Slots(most=most, needed=most)
        spell(slots, 100)
        assert int(slots.limit) == left


def test_an_upstream_that_bears_no_more_calls_gets_fewer_and_fewer() -> None:
    """It answers some, so each spell is another one."""
    slots = Slots(most=60, needed=60)
    for start in range(0, 1_000, 100):
        spell(slots, 10, start=float(start))
        slots.answered(started_at=start + 50.0)
    assert int(slots.limit) == FLOOR


def test_answers_to_calls_from_before_a_spell_do_not_end_it() -> None:
    slots = Slots(most=60, needed=60)
    for second in range(60):
        slots.lost(started_at=float(second), now=second + 0.5)
        slots.answered(started_at=-10.0)
    assert slots.lost(started_at=70.0, now=70.5) == LONGEST_PAUSE


def test_the_first_answer_ends_a_spell_and_more_slots_come_with_clean_answers() -> None:
    slots = Slots(most=60, needed=60)
    spell(slots, 30)
    slots.answered()
    assert int(slots.limit) == 42
    assert spell(slots, 6, start=100.0) == [0] * 6
    for _ in range(2_000):
        slots.answered()
    assert slots.limit == 60
