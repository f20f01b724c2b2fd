"""Sums for operators: as new as they can be without adding up all the time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cache_service.errors import StoreError
from cache_service.jobs.inspect import AT_ONCE, SHARE, Inspector


class Adding:
    """A store whose sums take as long as a test says. times: how often they were added up."""

    def __init__(self) -> None:
        self.now = self.takes = 0.0
        self.times = 0
        self.fails = False

    async def totals(self) -> dict[str, int]:
        await asyncio.sleep(0)
        self.now += self.takes
        self.times += 1
        if self.fails:
            raise StoreError("no")
        return {"entries": self.times}


def inspector(store: Any) -> Inspector:
    return Inspector(store, store, store, store, store, monotonic=lambda: store.now)


async def test_sums_that_take_no_time_are_always_new() -> None:
    store = Adding()
    looking = inspector(store)
    for times in (1, 2):
        store.now += 0.1
        assert await looking.totals() == {"entries": times}


async def test_sums_that_take_long_are_those_of_before_and_take_a_share_of_the_time() -> None:
    """Of a million entries, a page never waits for them but the first."""
    store = Adding()
    looking = inspector(store)
    store.takes = 2 * AT_ONCE
    assert await looking.totals() == {"entries": 1}
    store.now += store.takes / SHARE
    assert await looking.totals() == {"entries": 1}
    assert store.times == 1
    store.now += 0.1
    assert await looking.totals() == {"entries": 1}
    await looking._adding_up  # type: ignore[misc]
    assert await looking.totals() == {"entries": 2}


async def test_who_looks_first_hears_why_there_is_no_sum_and_the_next_may_get_one() -> None:
    store = Adding()
    looking, store.fails = inspector(store), True
    for result in await asyncio.gather(looking.totals(), looking.totals(), return_exceptions=True):
        assert isinstance(result, StoreError)
    store.fails = False
    assert (await looking.totals())["entries"] == store.times
    await looking.aclose()


async def test_whoever_goes_away_takes_nobody_s_sum_along() -> None:
    store = Adding()
    looking = inspector(store)
    first, second = asyncio.create_task(looking.totals()), asyncio.create_task(looking.totals())
    await asyncio.sleep(0)
    first.cancel()
    assert await second == {"entries": 1}
    with pytest.raises(asyncio.CancelledError):
        await first
