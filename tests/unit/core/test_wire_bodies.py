"""A body is served with the entry that it was made of, and with no other."""

from __future__ import annotations

from dataclasses import replace

from cache_service.store.entry import Entry
from cache_service.wire_bodies import Body, WireBodies
from tests.unit.store.test_store_hot_tier import entry

BODY = Body(b"{}" * 50)


def bodies(held: list[Entry], most: int = 10_000) -> WireBodies:
    return WireBodies(most, lambda one: any(one is other for other in held))


def test_it_is_found_for_as_many_outputs_as_it_holds() -> None:
    one = entry()
    wire = bodies([one])
    wire.keep(one, 2, BODY)
    assert wire.find(one, 2) is BODY
    assert wire.find(one, 1) is None


def test_an_entry_that_was_read_anew_has_none_though_it_is_equal() -> None:
    """Something was done to it meanwhile."""
    one, again = entry(), entry()
    wire = bodies([one, again])
    wire.keep(one, 1, BODY)
    assert replace(one) == again
    assert wire.find(again, 1) is None


def test_a_body_of_an_entry_that_went_while_it_was_made_is_not_kept() -> None:
    wire = bodies([])
    wire.keep(entry(), 1, BODY)
    assert len(wire.held) == 0


def test_what_the_tier_forgets_is_forgotten_here() -> None:
    one = entry()
    wire = bodies([one])
    wire.keep(one, 1, BODY)
    wire.forget([one.exact_key, "unknown"])
    assert wire.find(one, 1) is None
    assert wire.held.weight == 0


def test_bodies_stay_within_their_bytes() -> None:
    held = [entry(1, "cat"), entry(2, "dog")]
    wire = bodies(held, most=1000)
    for one in held:
        wire.keep(one, 1, BODY)
    assert wire.find(held[0], 1) is None
    assert wire.find(held[1], 1) is BODY
