"""Slots: fewer after losses, more after clean answers."""

from __future__ import annotations

from cache_service.upstream.concurrency import Slots


def test_a_pool_starts_with_all_its_slots() -> None:
    slots = Slots(most=3)
    for _ in range(3):
        assert slots.free
        slots.take()
    assert not slots.free
    slots.release()
    assert slots.free


def test_one_spell_of_losses_cuts_once() -> None:
    """Sixty calls that fail together are one sign, not sixty."""
    slots = Slots(most=60)
    for _ in range(60):
        slots.lost(started_at=0.0, now=10.0)
    assert int(slots.limit) == 42
    slots.lost(started_at=11.0, now=12.0)
    assert int(slots.limit) == 29


def test_some_slots_always_remain() -> None:
    for most, floor in ((60, 2), (2, 2), (1, 1)):
        slots = Slots(most=most)
        for spell in range(100):
            slots.lost(started_at=float(spell), now=spell + 0.5)
        assert int(slots.limit) == floor
        assert slots.free


def test_clean_answers_bring_the_slots_back() -> None:
    slots = Slots(most=10)
    slots.lost(started_at=0.0, now=1.0)
    assert int(slots.limit) == 7
    for _ in range(7):
        slots.answered()
    assert int(slots.limit) == 8
    for _ in range(1_000):
        slots.answered()
    assert slots.limit == 10
