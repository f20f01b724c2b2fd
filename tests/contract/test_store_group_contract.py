"""Stores that come at the same time share a transaction, on every database; each is as if it had come alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cache_service.errors import StoreError
from cache_service.store.base import RefusedByPurge, Stored
from cache_service.store.entry import Kind, Payment, PurgePredicate
from cache_service.store.sql import SqlEntryStore, open_store
from tests.fakes.databases import MakeDatabase
from tests.fakes.entries import MODEL, digest, new_entry, output

MANY = 40


@pytest.fixture
async def store(make_database: MakeDatabase) -> AsyncIterator[SqlEntryStore]:
    opened = await open_store(make_database(), clock=lambda: 5000.0)
    yield opened
    await opened.aclose()


def payment(name: str) -> Payment:
    return Payment(name, 1000.0, Kind("images", "tests"), "paid", 0.25)


def count_transactions(store: SqlEntryStore, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    write, written = store.database.write, [0]

    async def counting(work: Any) -> Any:
        written[0] += 1
        return await write(work)

    monkeypatch.setattr(store.database, "write", counting)
    return written


async def test_those_that_come_while_one_is_written_share_the_next_transaction(
    store: SqlEntryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first waits for nobody; each has its own number, and the feed has no gap."""
    written = count_transactions(store, monkeypatch)
    names = [str(i) for i in range(MANY)]
    first = asyncio.create_task(store.put(new_entry("0"), "keep", payment=payment("0")))
    while not written[0]:  # noqa: ASYNC110  the store knows no event for it
        await asyncio.sleep(0)
    rest = await asyncio.gather(*(store.put(new_entry(n), "keep", payment=payment(n)) for n in names[1:]))
    outcomes = [await first, *rest]
    assert written == [2]
    assert [change.number for change in await store.changes(after=0, limit=100)] == list(range(1, MANY + 1))
    assert {change.number: change.entry_id for change in await store.changes(after=0, limit=100)} == {
        outcome.number: outcome.entry.id for outcome in outcomes if isinstance(outcome, Stored)
    }
    for name in names:
        found = await store.find(digest(name), embedding_model=MODEL)
        assert found is not None
        assert found.prompt == name
    assert (await store.spent(0, simulated=False)).total == 0.25 * MANY
    assert await store.check(fix=False) == []


@pytest.mark.parametrize("broken", [{"prompt": "\ud800"}, {"request": {"n": 2**70}}, {"created_at": "soon"}])
async def test_one_that_cannot_be_stored_takes_no_other_with_it(store: SqlEntryStore, broken: dict[str, Any]) -> None:
    entries = [new_entry(str(i), **(broken if i == 7 else {})) for i in range(MANY)]
    outcomes = await asyncio.gather(*(store.put(new, "keep") for new in entries), return_exceptions=True)
    assert isinstance(outcomes[7], Exception)
    assert all(isinstance(outcome, Stored) for place, outcome in enumerate(outcomes) if place != 7)
    assert (await store.totals())["entries"] == MANY - 1
    assert len(await store.changes(after=0, limit=100)) == MANY - 1


async def test_a_purge_refuses_only_what_it_names(store: SqlEntryStore) -> None:
    purged = await store.purge(PurgePredicate(key=digest("7")))
    names = [str(i) for i in range(MANY)]
    outcomes = await asyncio.gather(*(store.put(new_entry(n, began=0), "keep", payment=payment(n)) for n in names))
    assert outcomes[7] == RefusedByPurge(purged.number)
    assert sum(isinstance(outcome, Stored) for outcome in outcomes) == MANY - 1
    assert (await store.spent(0, simulated=False)).total == 0.25 * (MANY - 1)


async def test_equal_keys_at_once_become_one_entry(store: SqlEntryStore) -> None:
    entries = [new_entry("cat", outputs=(output(str(i)),)) for i in range(MANY)]
    outcomes = await asyncio.gather(*(store.put(new, "append") for new in entries))
    found = await store.find(digest("cat"), embedding_model=MODEL)
    assert found is not None
    assert [one.blob for one in found.outputs] == [digest(str(i)) for i in range(MANY)]
    assert [len(outcome.entry.outputs) for outcome in outcomes if isinstance(outcome, Stored)] == [*range(1, MANY + 1)]
    assert (await store.totals())["entries"] == 1


async def test_what_a_caller_no_longer_waits_for_is_stored(store: SqlEntryStore) -> None:
    asking = [asyncio.ensure_future(store.put(new_entry(str(i)), "keep")) for i in range(MANY)]
    await asyncio.sleep(0)
    for one in asking:
        one.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    await store.put(new_entry("last"), "keep")
    assert (await store.totals())["entries"] == MANY + 1


async def test_closing_waits_for_what_waits(make_database: MakeDatabase) -> None:
    url = make_database()
    store = await open_store(url)
    asking = [asyncio.ensure_future(store.put(new_entry(str(i)), "keep")) for i in range(MANY)]
    await asyncio.sleep(0)
    await store.aclose()
    assert all(isinstance(outcome, Stored) for outcome in await asyncio.gather(*asking))
    again = await open_store(url)
    assert (await again.totals())["entries"] == MANY
    await again.aclose()


async def test_nodes_that_store_the_same_at_once_wait_for_each_other(make_database: MakeDatabase) -> None:
    """In whatever order their entries come: no deadlock, and each entry once."""
    url = make_database()
    nodes = [await open_store(url) for _ in range(3)]
    names = [str(i) for i in range(MANY)]
    orders = [names, names[::-1], names[1::2] + names[::2]]
    work = [node.put(new_entry(n), "keep") for node, order in zip(nodes, orders, strict=True) for n in order]
    outcomes = await asyncio.gather(*work)
    assert all(isinstance(outcome, Stored) for outcome in outcomes)
    assert (await nodes[0].totals())["entries"] == MANY
    assert [change.number for change in await nodes[0].changes(after=0, limit=1000)] == [*range(1, MANY + 1)]
    for node in nodes:
        await node.aclose()


async def test_a_commit_that_failed_is_not_tried_again(store: SqlEntryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have happened: appended once more, outputs would be there twice."""
    write = store.database.write

    async def then_lost(work: Any) -> Any:
        await write(work)
        raise StoreError("the connection was lost in the commit")

    await store.put(new_entry("0"), "append")
    monkeypatch.setattr(store.database, "write", then_lost)
    outcomes = await asyncio.gather(
        *(store.put(new_entry(str(i % 4)), "append") for i in range(8)), return_exceptions=True
    )
    assert all(isinstance(outcome, StoreError) for outcome in outcomes)
    monkeypatch.undo()
    found = [await store.find(digest(str(i)), embedding_model=MODEL) for i in range(4)]
    assert [len(entry.outputs) for entry in found if entry is not None] == [3, 2, 2, 2]


async def test_the_log_is_copied_back_by_what_was_written_too(
    make_sqlite: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few transactions of many stores each must not let it grow without end."""
    monkeypatch.setattr("cache_service.store.engine.ROWS_BETWEEN_CHECKPOINTS", 100)
    url = make_sqlite()
    before = size_of(url)
    store = await open_store(url)
    await asyncio.gather(*(store.put(new_entry(str(i)), "keep") for i in range(MANY)))
    await store.put(new_entry("after the checkpoint"), "keep")
    assert size_of(url) > before
    await store.aclose()


def size_of(url: str) -> int:
    """Bytes of the database's main file."""
    return Path(url.removeprefix("sqlite:///")).stat().st_size
