"""What `EvictingStore` promises, on every database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa

from cache_service.store import keeping
from cache_service.store.base import ChangeKind, Stored, Use
from cache_service.store.eviction import Excess, Held, Ranking
from cache_service.store.sql import SqlEntryStore, open_store
from cache_service.store.tables import outputs, worth
from tests.fakes.databases import MakeDatabase
from tests.fakes.entries import MODEL, digest, new_entry, output, stored_vector

NOW = 5000.0


@pytest.fixture
async def open_with(make_database: MakeDatabase) -> AsyncIterator[Callable[..., object]]:
    """Opens the same database by another rule."""
    url, opened = make_database(), []

    async def open_by(ranking: Ranking) -> SqlEntryStore:
        opened.append(await open_store(url, clock=lambda: NOW, ranking=ranking))
        return opened[-1]

    yield open_by
    for store in opened:
        await store.aclose()


@pytest.fixture
async def store(open_with: Callable[..., object]) -> SqlEntryStore:
    opened = await open_with(Ranking("lru"))  # type: ignore[misc]
    assert isinstance(opened, SqlEntryStore)
    return opened


async def put(store: SqlEntryStore, name: str, **members: object) -> Stored:
    stored = await store.put(new_entry(name, **members), "append")
    assert isinstance(stored, Stored)
    return stored


async def names(store: SqlEntryStore, *asked: str) -> str:
    """Those of the entries that are there."""
    found = [await store.find(digest(name), embedding_model=MODEL) for name in asked]
    return "".join(entry.prompt for entry in found if entry is not None)


async def test_what_is_held_is_counted_by_namespace(store: SqlEntryStore) -> None:
    await put(store, "a", namespace="x", outputs=(output("1", size=10), output("2", size=5)))
    await put(store, "b", namespace="x", outputs=(output("1", size=10),))
    await put(store, "c", namespace="y", outputs=(output("n", blob=None, size=0),))
    assert await store.held() == {"x": Held(2, 25), "y": Held(1, 0)}
    await store.put(new_entry("b", namespace="x", outputs=(output("3", size=100),)), "append")
    await store.put(new_entry("a", namespace="x", outputs=(output("4", size=1),)), "replace")
    assert await store.held() == {"x": Held(2, 111), "y": Held(1, 0)}


async def test_the_least_recently_used_goes_first_and_the_feed_says_so(store: SqlEntryStore) -> None:
    ids = {name: (await put(store, name, created_at=at)).entry.id for at, name in enumerate("abcd", 1000)}
    await store.record_uses({ids["a"]: Use(1, 2000.0), 999: Use(1, 2000.0)})
    before = (await store.position()).number
    gone = await store.evict(Excess(None, 2, 0), limit=10, now=NOW)
    assert (gone.count, gone.freed) == (2, {"default": Held(2, 6)})
    assert gone.orphaned_blobs == tuple(sorted((digest("b"), digest("c"))))
    assert await names(store, *"abcd") == "ad"
    changes = await store.changes(after=before, limit=9)
    assert [(change.kind, change.entry_id) for change in changes] == [
        (ChangeKind.EVICTED, ids["b"]),
        (ChangeKind.EVICTED, ids["c"]),
    ]
    assert gone.number == changes[-1].number
    assert await store.check(fix=False) == []


async def test_expired_and_quarantined_entries_go_before_all_others(store: SqlEntryStore) -> None:
    for at, name in enumerate("abcd", 1000):
        stored = await put(store, name, created_at=at, expires_at={"d": 4999.0, "a": 6000.0}.get(name))
        if name == "c":
            await store.quarantine([stored.entry.id])
    assert (await store.evict(Excess(None, 2, 0), limit=10, now=NOW)).count == 2
    assert await names(store, *"abcd") == "ab"
    assert await store.held() == {"default": Held(2, 6)}


async def test_a_namespace_makes_room_for_itself(store: SqlEntryStore) -> None:
    for at, name in enumerate("abcd", 1000):
        await put(store, name, created_at=at, namespace="x" if name in "bd" else "y")
    assert (await store.evict(Excess("x", 1, 0), limit=10, now=NOW)).freed == {"x": Held(1, 3)}
    assert await names(store, *"abcd") == "acd"


async def test_where_bytes_are_too_many_what_has_none_stays(store: SqlEntryStore) -> None:
    await put(store, "a", outputs=(output("n", blob=None, size=0),), created_at=1.0)
    await put(store, "b", outputs=(output("b", size=50),), created_at=2.0)
    await put(store, "c", outputs=(output("c", size=50),), created_at=3.0)
    assert (await store.evict(Excess(None, 0, 51), limit=10, now=NOW)).count == 2
    assert await names(store, *"abc") == "a"


async def test_a_shared_picture_stays_until_nobody_refers_to_it(store: SqlEntryStore) -> None:
    for at, name in enumerate("ab", 1000):
        await put(store, name, outputs=(output("same"),), created_at=at)
    assert (await store.evict(Excess(None, 1, 0), limit=1, now=NOW)).orphaned_blobs == ()
    assert (await store.evict(Excess(None, 1, 0), limit=1, now=NOW)).orphaned_blobs == (digest("same"),)


async def test_what_is_dear_and_often_asked_for_stays(open_with: Callable[..., object]) -> None:
    store = await open_with(Ranking("cost", per_entry=0.001))  # type: ignore[misc]
    assert isinstance(store, SqlEntryStore)
    await put(store, "d", outputs=(output("d", usd=0.5),))
    cheap = await put(store, "c", outputs=(output("c", usd=0.01),))
    await put(store, "m", outputs=(output("m", usd=0.03),))
    await store.record_uses({cheap.entry.id: Use(9, 1000.0)})
    for left in ("dc", "d", ""):
        await store.evict(Excess(None, 1, 0), limit=1, now=NOW)
        assert await names(store, *"dcm") == left


async def test_what_was_often_asked_for_long_ago_makes_way(open_with: Callable[..., object]) -> None:
    """Each eviction raises the floor on which new entries stand, until the old favourite is below it."""
    store = await open_with(Ranking("lfu"))  # type: ignore[misc]
    assert isinstance(store, SqlEntryStore)
    old = await put(store, "old")
    await store.record_uses({old.entry.id: Use(5, 1000.0)})
    for number in range(20):
        await put(store, f"{number}")
        await store.evict(Excess(None, 1, 0), limit=1, now=NOW)
        if not await names(store, "old"):
            break
    assert number == 5


async def test_without_a_common_bound_each_namespace_ages_at_its_own_pace(open_with: Callable[..., object]) -> None:
    store = await open_with(Ranking("lfu", one_floor=False))  # type: ignore[misc]
    assert isinstance(store, SqlEntryStore)
    for number in range(9):
        await put(store, f"busy {number}", namespace="busy")
        await store.evict(Excess("busy", 1, 0), limit=1, now=NOW)
    often = await put(store, "often", namespace="quiet")
    await store.record_uses({often.entry.id: Use(2, 1000.0)})
    await put(store, "newer", namespace="quiet")
    await store.evict(Excess("quiet", 1, 0), limit=1, now=NOW)
    assert await names(store, "often", "newer") == "often"


async def test_after_the_first_look_only_what_changed_is_looked_at(store: SqlEntryStore) -> None:
    """Of a million entries the first takes seconds, and it is looked every ten."""
    first, second = [(await put(store, name)).entry.id for name in ("first", "second")]
    await store.rank()
    await _forget(store, first)
    assert await store.rank() == 0  # nobody but a test takes it out
    await _forget(store, second)
    await store.set_vectors({second: stored_vector(1.0)})
    assert await store.rank() == 1
    assert len(await store._database.read(keeping.uncounted)) == 1


async def _forget(store: SqlEntryStore, entry_id: int) -> None:
    await store._database.write(lambda c: c.execute(sa.delete(worth).where(worth.c.entry_id == entry_id)))


async def test_another_rule_ranks_all_that_is_there(store: SqlEntryStore, open_with: Callable[..., object]) -> None:
    """Also what an earlier release stored, which counted nothing; and only once."""
    ids = {
        name: (await put(store, name, created_at=at, outputs=(output(name, usd=0.01),))).entry.id
        for at, name in enumerate("abc", 1000)
    }
    await store.record_uses({ids["a"]: Use(5, 1001.0)})
    await store._database.write(lambda c: c.execute(sa.delete(worth).where(worth.c.entry_id == ids["b"])))
    assert await store.rank() == 3
    again = await open_with(Ranking("lfu"))  # type: ignore[misc]
    assert isinstance(again, SqlEntryStore)
    assert await again.rank() == 3
    assert await again.rank() == 0
    sizes = {row.entry_id: row.size for row in await _outputs(again)}
    assert await again.held() == {"default": Held(3, sum(sizes.values()))}
    await again.evict(Excess(None, 2, 0), limit=10, now=NOW)
    assert await names(again, *"abc") == "a"


async def test_a_replaced_entry_keeps_how_often_it_was_asked_for(open_with: Callable[..., object]) -> None:
    store = await open_with(Ranking("lfu"))  # type: ignore[misc]
    assert isinstance(store, SqlEntryStore)
    often = await put(store, "a")
    await put(store, "b", created_at=2000.0)
    await store.record_uses({often.entry.id: Use(9, 1000.0)})
    await store.put(replace(new_entry("a"), outputs=(output("new"),)), "replace")
    await store.evict(Excess(None, 1, 0), limit=1, now=NOW)
    assert await names(store, *"ab") == "a"


async def _outputs(store: SqlEntryStore) -> list[sa.Row[tuple[object, ...]]]:
    async def read(connection: object) -> list[sa.Row[tuple[object, ...]]]:
        return list(await connection.execute(sa.select(outputs.c.entry_id, outputs.c.size)))  # type: ignore[attr-defined]

    return await store._database.read(read)
