"""The record of hits: never in a request's way, found before it is written, bounded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cache_service.errors import StoreError
from cache_service.instrumentation.events import Event, HitsUnrecorded
from cache_service.jobs.hit_log import TRIM_EVERY, HitLog
from cache_service.store.entry import ServedHit

HIT = ServedHit("n", "images", "r0", "asked", "da", "stored", "ds", 0.95, 1.0)


class Store:
    """Keeps hits in a list, or fails."""

    def __init__(self) -> None:
        self.hits: list[ServedHit] = []
        self.fails = False
        self.kept: list[int] = []

    async def record_hits(self, hits: list[ServedHit]) -> None:
        if self.fails:
            raise StoreError("no disk")
        self.hits += hits

    async def find_hit(self, **named: Any) -> ServedHit | None:
        return next((hit for hit in reversed(self.hits) if hit.request_id == named["request_id"]), None)

    async def trim_hits(self, *, keep: int) -> int:
        self.kept.append(keep)
        return 0


def log_of(store: Any, events: list[Event], most_waiting: int = 10) -> HitLog:
    return HitLog(store, hook=events.append, keep=7, most_waiting=most_waiting)


async def test_a_hit_is_found_before_and_after_it_is_written() -> None:
    store = Store()
    log = log_of(store, [])
    log.add(HIT)
    log.add(replace(HIT, request_id="r1"))
    assert store.hits == []
    named: dict[str, Any] = {"namespace": "n", "key": None}
    assert await log.find(request_id="r0", **named) == HIT
    assert await log.find(namespace="n", key="stored", request_id=None) == replace(HIT, request_id="r1")
    await log.flush()
    assert store.hits == [HIT, replace(HIT, request_id="r1")]
    assert await log.find(request_id="r0", **named) == HIT


async def test_another_namespace_finds_nothing_that_waits() -> None:
    log = log_of(Store(), [])
    log.add(HIT)
    assert await log.find(namespace="other", key=None, request_id="r0") is None


async def test_a_store_that_fails_costs_nothing_until_too_many_wait() -> None:
    """They are written in order once it works again; the oldest are given up first, and counted."""
    store, events = Store(), list[Event]()
    log = log_of(store, events, most_waiting=3)
    store.fails = True
    for n in range(3):
        log.add(replace(HIT, request_id=f"r{n}"))
    with pytest.raises(StoreError):
        await log.flush()
    log.add(replace(HIT, request_id="r3"))
    store.fails = False
    await log.flush()
    assert [hit.request_id for hit in store.hits] == ["r1", "r2", "r3"]
    assert events == [HitsUnrecorded(1)]


async def test_stopping_writes_what_waits_and_a_dead_store_does_not_stop_it() -> None:
    store, events = Store(), list[Event]()
    log = log_of(store, events)
    log.add(HIT)
    await log.close()
    assert store.hits == [HIT]
    store.fails = True
    log.add(HIT)
    await log.close()
    assert events == [HitsUnrecorded(1)]


async def test_the_database_is_trimmed_now_and_then_to_what_is_kept() -> None:
    store = Store()
    log = log_of(store, [], most_waiting=10 * TRIM_EVERY)
    for _ in range(3):
        await log.flush()
    for _ in range(TRIM_EVERY):
        log.add(HIT)
    await log.flush()
    assert store.kept == [7, 7]
