"""What `BatchStore` promises, on every database and of the fake."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from cache_service.batch import Batch, BatchStore, Ended, Item, NewItem, Options, SentItem, Tally, TooManyRunning
from cache_service.store.batches import SqlBatchStore
from cache_service.store.engine import Database
from tests.fakes.batches import FakeBatchStore
from tests.fakes.databases import MakeDatabase

ITEMS = [
    NewItem("images", '{"prompt":"a fox"}', "{}"),
    NewItem("images", '{"prompt":"a whale"}', "{}"),
    NewItem("images", '{"prompt":"a fox"}', "{}", same_as=0),
    NewItem("chat", '{"messages":[]}', '{"tags":["x"]}'),
]
BATCH = Batch(0, "batch_1", "alice", "web", len(ITEMS), 0, Options(budget_usd=0.5), 100.25)
DONE = Ended(0, "done", '{"data":[]}', "miss", 0.25, '{"decision":"miss"}', '{"decision":"collapsed"}')


Reopen = Callable[[], BatchStore]


@pytest.fixture(params=["fake", "sqlite", "postgresql"])
async def reopen(request: pytest.FixtureRequest) -> AsyncIterator[Reopen]:
    """Gives the same batches, each time as a process that starts finds them."""
    if request.param == "fake":
        fake = FakeBatchStore()
        yield lambda: fake
        return
    make: MakeDatabase = request.getfixturevalue(f"make_{request.param}")
    url, opened = make(), list[Database]()

    def another() -> BatchStore:
        opened.append(Database(url))
        return SqlBatchStore(opened[-1])

    yield another
    for database in opened:
        await database.aclose()


@pytest.fixture
def store(reopen: Reopen) -> BatchStore:
    return reopen()


async def made(store: BatchStore, batch: Batch = BATCH, *, owner: str = "me", lease: float = 200.0) -> Batch:
    created = await store.create(batch, ITEMS, owner=owner, lease=lease, most_running=3)
    assert isinstance(created, Batch)
    return created


async def test_a_batch_is_found_as_it_was_filed_by_its_own_namespace_alone(store: BatchStore) -> None:
    batch = await made(store)
    assert await store.find("batch_1", namespace="alice") == batch == replace(BATCH, number=batch.number)
    assert await store.find("batch_1", namespace="bob") is None
    assert await store.find("batch_2", namespace="alice") is None


async def test_a_client_runs_so_many_at_once_and_another_is_not_held_by_it(store: BatchStore) -> None:
    for n in range(3):
        await made(store, replace(BATCH, id=f"batch_{n}"))
    refused = await store.create(replace(BATCH, id="batch_x"), ITEMS, owner="me", lease=1.0, most_running=3)
    assert refused == TooManyRunning(3)
    assert await store.find("batch_x", namespace="alice") is None
    await made(store, replace(BATCH, id="batch_y", client="other"))


async def test_what_waits_comes_in_order_without_its_duplicates(store: BatchStore) -> None:
    batch = await made(store)
    waiting = await store.waiting(batch.number, after=-1, limit=9)
    assert waiting == [Item(n, ITEMS[n].operation, ITEMS[n].request, ITEMS[n].steering) for n in (0, 1, 3)]
    assert await store.waiting(batch.number, after=0, limit=1) == waiting[1:2]


async def test_an_item_ends_once_and_its_equals_with_it(store: BatchStore) -> None:
    batch = await made(store)
    assert await store.end_items(batch.number, [DONE]) == 2
    assert await store.end_items(batch.number, [replace(DONE, state="failed", body="{}")]) == 0
    first, equal = await store.results(batch.number, after=0, limit=9, most_bytes=999)
    assert (first.number, first.position, first.cache) == (1, 0, '{"decision":"miss"}')
    assert (equal.number, equal.position, equal.cache) == (2, 2, '{"decision":"collapsed"}')
    assert first.body == equal.body == DONE.body
    assert await store.tally(batch.number) == Tally(hits=1, generated=1, waiting=2, usd=0.25)


async def test_results_are_read_from_any_place_and_fit_the_bytes(store: BatchStore) -> None:
    batch = await made(store)
    ended = [Ended(1, "failed", "x" * 10), Ended(3, "skipped", "y" * 10), DONE]
    await store.end_items(batch.number, ended)
    everything = await store.results(batch.number, after=0, limit=9, most_bytes=999)
    assert [one.position for one in everything] == [1, 3, 0, 2]
    assert await store.results(batch.number, after=2, limit=1, most_bytes=999) == everything[2:3]
    assert await store.results(batch.number, after=0, limit=9, most_bytes=25) == everything[:2]
    assert await store.results(batch.number, after=0, limit=9, most_bytes=1) == everything[:1]


async def test_a_batch_ends_with_its_last_item(reopen: Reopen, store: BatchStore) -> None:
    batch = await made(store)
    assert not await store.finish(batch.number, at=300.0)
    await store.cancel(batch.number, at=250.0)
    await store.cancel(batch.number, at=260.0)
    await store.end_items(batch.number, [DONE, Ended(1, "cancelled", "{}"), Ended(3, "cancelled", "{}")])
    assert await store.finish(batch.number, at=300.0)
    found = await reopen().find("batch_1", namespace="alice")
    assert found is not None
    assert (found.state, found.cancelled_at, found.ended_at, found.ended) == ("cancelled", 250.0, 300.0, 4)
    await store.cancel(batch.number, at=400.0)
    assert (await store.claim(owner="me", now=900.0, lease=999.0)) == []


async def test_a_running_batch_has_one_owner_until_its_lease_is_over(store: BatchStore) -> None:
    batch = await made(store, lease=200.0)
    assert await store.claim(owner="other", now=199.0, lease=230.0) == []
    assert [b.id for b in await store.claim(owner="me", now=199.0, lease=230.0)] == ["batch_1"]
    assert await store.renew(batch.number, owner="me", lease=260.0) == batch
    assert [b.id for b in await store.claim(owner="other", now=261.0, lease=290.0)] == ["batch_1"]
    assert await store.renew(batch.number, owner="me", lease=300.0) is None


async def test_only_what_has_ended_is_deleted(store: BatchStore) -> None:
    batch = await made(store)
    assert not await store.delete(batch.number)
    await store.end_items(batch.number, [DONE, Ended(1, "failed", "{}"), Ended(3, "failed", "{}")])
    await store.finish(batch.number, at=300.0)
    assert await store.delete(batch.number)
    assert not await store.delete(batch.number)
    assert await store.find("batch_1", namespace="alice") is None


async def test_what_ended_long_ago_goes_with_its_results(store: BatchStore) -> None:
    batch = await made(store)
    assert await store.trim(before=1e12) == 0
    await store.end_items(batch.number, [DONE, Ended(1, "failed", "{}"), Ended(3, "failed", "{}")])
    await store.finish(batch.number, at=300.0)
    assert await store.trim(before=300.0) == 0
    assert await store.trim(before=301.0) == 1
    assert await store.results(batch.number, after=0, limit=9, most_bytes=99) == []


async def test_items_that_went_to_the_upstream_are_known_after_a_restart(store: BatchStore) -> None:
    batch = await made(store)
    sent = [SentItem(0, '{"prompt":"a fox"}', '{"draft":1}'), SentItem(1, "{}", "{}")]
    upstream = await store.send(batch.number, "/images/generations", sent)
    named = replace(upstream, key_name="key-1", file_id="file-1", upstream_id="batch_abc")
    await store.update_upstream(named)
    assert await store.open_upstream(batch.number) == [named]
    assert await store.sent_items(named, after=-1, limit=9) == sent
    assert await store.sent_item(named, 1) == sent[1]
    assert [item.position for item in await store.waiting(batch.number, after=-1, limit=9)] == [3]
    assert await store.tally(batch.number) == Tally(sent=2, waiting=2)
    await store.end_items(batch.number, [DONE])
    assert await store.sent_items(named, after=-1, limit=9) == sent[1:]
    await store.update_upstream(replace(named, state="ended"))
    assert await store.open_upstream(batch.number) == []
