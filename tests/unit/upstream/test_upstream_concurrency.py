"""Slots: fewer in a spell of losses, back with the first answer."""

from __future__ import annotations

from cache_service.upstream.concurrency import LONGEST_PAUSE, Slots


def spell(slots: Slots, calls: int, start: float = 0.0) -> list[float]:
    """So many calls, one after the other, each lost; the pauses that follow."""
    return [slots.lost(started_at=start + number, now=start + number + 0.5) for number in range(calls)]


def test_a_pool_starts_with_all_its_slots() -> None:
    slots = Slots(most=3)
    for _ in range(3):
        assert slots.free
        slots.take()
    assert not slots.free
    slots.release()
    assert slots.free


def test_calls_that_fail_together_cut_once() -> None:
    """Sixty calls that fail together are one sign, not sixty."""
    slots = Slots(most=60)
    for _ in range(60):
        slots.lost(started_at=0.0, now=10.0)
    assert int(slots.limit) == 42
    slots.lost(started_at=11.0, now=12.0)
    assert int(slots.limit) == 29


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
    pauses = spell(Slots(most=60), 12)
    assert pauses[:3] == [0, 0, 0]
    assert pauses[3:6] == [1.0, 2.0, 4.0]
    assert set(pauses[6:]) == {LONGEST_PAUSE}


def test_some_slots_always_remain() -> None:
    for most, floor in ((60, 2), (2, 2), (1, 1)):
        slots = Slots(most=most)
        spell(slots, 100)
        assert int(slots.limit) == floor
        assert slots.free


def test_answers_to_calls_from_before_a_spell_do_not_end_it() -> None:
    """They come for a minute, and each would let the slots be cut anew, until the floor is all that is left to restore."""
    slots = Slots(most=60)
    for second in range(60):
        slots.lost(started_at=float(second), now=second + 0.5)
        slots.answered(started_at=-10.0)
    slots.answered(started_at=60.0)
    assert int(slots.limit) == 42


def test_the_first_answer_ends_a_spell() -> None:
    """The pacing holds the rate, so nothing is gained by creeping up; and more come with clean answers."""
    slots = Slots(most=60)
    spell(slots, 30)
    slots.answered()
    assert int(slots.limit) == 42
    assert spell(slots, 3, start=100.0) == [0, 0, 0]
    for _ in range(2_000):
        slots.answered()
    assert slots.limit == 60
