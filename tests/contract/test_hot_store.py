"""A store with a hot tier, beside another node that writes to the same database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from cache_service.errors import StoreError
from cache_service.store.base import FeedPosition, Stored
from cache_service.store.engine import Database
from cache_service.store.entry import Entry, PurgePredicate
from cache_service.store.hot import HotEntryStore, open_hot_store
from cache_service.store.sql import SqlEntryStore, open_store
from tests.fakes.databases import MakeDatabase
from tests.fakes.entries import MODEL, digest, new_entry


@dataclass
class Nodes:
    """near: with a hot tier, whose clock is `now`; far: another process's store."""

    near: HotEntryStore
    far: SqlEntryStore
    clock: dict[str, float]
    asked: list[str] = field(default_factory=list)

    async def find(self, name: str = "cat") -> Entry | None:
        return await self.near.find(digest(name), embedding_model=MODEL)

    async def stored(self, name: str = "cat") -> Entry:
        """In the database, and in memory."""
        outcome = await self.far.put(new_entry(name), "append")
        assert isinstance(outcome, Stored)
        await self.near.follow()
        found = await self.find(name)
        assert found == outcome.entry
        assert await self.find(name) is found
        return outcome.entry


@pytest.fixture
async def nodes(make_database: MakeDatabase) -> AsyncIterator[Nodes]:
    url, clock = make_database(), {"now": 0.0}
    near = await open_hot_store(url, 2**20, monotonic=lambda: clock["now"])
    far = await open_store(url)
    yield Nodes(near, far, clock)
    await near.aclose()
    await far.aclose()


async def test_another_nodes_purge_holds_here_once_the_feed_was_looked_at(nodes: Nodes) -> None:
    await nodes.stored()
    await nodes.far.purge(PurgePredicate(everything=True))
    await nodes.near.follow()
    assert await nodes.find() is None


async def test_and_within_a_second_if_the_feed_can_not_be_read(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """What memory holds is good for one second after the last look, then the database is asked."""
    await nodes.stored()
    await nodes.far.purge(PurgePredicate(everything=True))

    async def fails() -> FeedPosition:
        raise StoreError("no feed")

    monkeypatch.setattr(nodes.near, "position", fails)
    with pytest.raises(StoreError):
        await nodes.near.follow()
    nodes.clock["now"] = 0.99
    assert await nodes.find() is not None
    nodes.clock["now"] = 1.0
    assert await nodes.find() is None


async def test_a_purge_here_holds_before_it_is_answered_even_if_the_feed_can_not_be_read(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    await nodes.stored()

    async def fails(**_: Any) -> Any:
        raise StoreError("no feed")

    monkeypatch.setattr(nodes.near, "changes", fails)
    await nodes.near.purge(PurgePredicate(key=digest("cat")))
    assert await nodes.find() is None


async def test_a_row_that_is_purged_while_it_is_read_is_not_held(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be served to who asked before the purge, and to nobody after."""
    entry = await nodes.stored()
    nodes.near.hot.clear()
    read = Database.read

    async def slow(database: Database, work: Any) -> Any:
        result = await read(database, work)
        if asyncio.current_task() is reading:
            await purged.wait()
        return result

    purged = asyncio.Event()
    monkeypatch.setattr(Database, "read", slow)
    reading = asyncio.create_task(nodes.find())
    await asyncio.sleep(0)
    await nodes.near.purge(PurgePredicate(key=digest("cat")))
    purged.set()
    assert await reading in (None, entry)
    assert await nodes.find() is None


async def test_a_feed_of_another_epoch_forgets_everything(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that was put back from a backup while nobody looked."""
    await nodes.stored()
    feed = await nodes.near.position()

    async def another() -> FeedPosition:
        return FeedPosition("another", feed.number, feed.oldest)

    monkeypatch.setattr(nodes.near, "position", another)
    await nodes.near.follow()
    assert len(nodes.near.hot.held) == 0


async def test_so_does_one_whose_changes_are_no_longer_kept(nodes: Nodes) -> None:
    await nodes.stored()
    await nodes.far.purge(PurgePredicate(everything=True))
    await nodes.far.trim_changes(before=float("inf"))
    await nodes.near.follow()
    assert len(nodes.near.hot.held) == 0
    assert await nodes.find() is None


async def test_what_is_in_memory_is_found_while_the_database_can_not_be_asked(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = await nodes.stored()

    async def fails(database: Database, work: Any) -> Any:
        raise AssertionError("the database was asked")

    monkeypatch.setattr(Database, "read", fails)
    assert await nodes.find() == entry
    assert await nodes.near.fetch([entry.id], embedding_model=MODEL) == {entry.id: entry}


async def test_of_many_those_that_are_not_in_memory_are_read(nodes: Nodes) -> None:
    cat = await nodes.stored()
    outcome = await nodes.far.put(new_entry("dog"), "append")
    assert isinstance(outcome, Stored)
    found = await nodes.near.fetch([cat.id, outcome.entry.id, 999], embedding_model=MODEL)
    assert found == {cat.id: cat, outcome.entry.id: outcome.entry}
