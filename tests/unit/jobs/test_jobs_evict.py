"""Bounds hold while things are stored, and hits are counted behind the requests."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cache_service.errors import StoreError
from cache_service.index.faiss import FaissIndex
from cache_service.instrumentation.events import EntriesRemoved, Event, StoreHeld
from cache_service.jobs.evict import Evictor
from cache_service.jobs.follow import Follower
from cache_service.jobs.use_log import UseLog
from cache_service.store.base import EvictingStore, Use
from cache_service.store.blobs import FileBlobStore
from cache_service.store.eviction import NOTHING, Bound, Bounds, Held, ranking_for
from cache_service.store.sql import SqlEntryStore, open_store
from tests.fakes.databases import MakeDatabase
from tests.fakes.entries import MODEL, new_entry, output, unit

NOW = 5000.0


class World:
    """A store with bounds on SQLite, its pictures and its index."""

    def __init__(self, store: SqlEntryStore, blobs: FileBlobStore, index: FaissIndex, bounds: Bounds) -> None:
        self.store, self.blobs, self.index = store, blobs, index
        self.events: list[Event] = []
        self.follower = Follower(store, index, embedding_model=MODEL)
        self.evictor = Evictor(
            store, blobs, bounds=bounds, unreferenced=store.unreferenced, catch_up=self.follower.catch_up,
            hook=self.events.append, now=lambda: NOW,
        )  # fmt: skip

    async def keep(self, name: str, picture: bytes, namespace: str = "default", usd: float = 0.01) -> bool:
        """Stores an entry, as a generation does."""
        async with self.evictor.room(namespace, len(picture)) as fits:
            if fits:
                async with self.blobs.writing([picture]) as (blob,):
                    made = (output(name, blob=blob, size=len(picture), usd=usd),)
                    await self.store.put(new_entry(name, outputs=made, namespace=namespace), "append")
        return fits


BOUNDS = Bounds(Bound(400, 60_000), Bound(250), {"small": Bound(blob_bytes=4000)})


@pytest.fixture
async def world(make_sqlite: MakeDatabase, tmp_path: Path) -> AsyncIterator[World]:
    store = await open_store(make_sqlite(), clock=lambda: NOW, ranking=ranking_for("cost", BOUNDS))
    index = FaissIndex(tmp_path / "index", len(unit(1, 0, 0)))
    built = World(store, await FileBlobStore.open(tmp_path / "blobs"), index, BOUNDS)
    await built.follower.start()
    await built.evictor.start()
    yield built
    await index.aclose()
    await store.aclose()


async def test_every_bound_holds_within_one_percent_under_twice_its_load(world: World) -> None:
    """Entries and bytes, in all and of each namespace, looked at after every few stores of sixteen side by side."""
    draw = random.Random(5)  # noqa: S311 # repeatable, no secret
    seen: dict[str, list[Held]] = {}

    async def store(number: int) -> None:
        namespace = draw.choice(["a", "b", "small"])
        await world.keep(f"{number}", bytes([number % 256]) * draw.randint(20, 280), namespace)

    for start in range(0, 1200, 16):
        await asyncio.gather(*[store(number) for number in range(start, start + 16)])
        held = await world.store.held()
        for name, each in [*held.items(), ("all", sum(held.values(), NOTHING))]:
            seen.setdefault(name, []).append(each)
    for name, bound in {"all": BOUNDS.total, "a": BOUNDS.each, "b": BOUNDS.each, "small": Bound(None, 4000)}.items():
        for most, amounts in (
            (bound.entries, [each.entries for each in seen[name]]),
            (bound.blob_bytes, [each.blob_bytes for each in seen[name]]),
        ):
            assert most is None or max(amounts) <= most * 1.01
    assert max(each.entries for each in seen["all"]) >= 400 * 0.9, "it evicts more than it must"
    await world.follower.catch_up()
    assert len(world.index) == seen["all"][-1].entries
    on_disk = sum([len(await world.blobs.read(digest)) for digest in await world.blobs.all()])
    assert on_disk <= 60_000
    assert await world.store.check(fix=False) == []
    assert any(isinstance(event, EntriesRemoved) and event.cause == "evicted" for event in world.events)
    assert any(isinstance(event, StoreHeld) for event in world.events)


async def test_what_is_larger_than_a_bound_is_not_stored_and_nothing_goes_for_it(world: World) -> None:
    assert await world.keep("fits", b"x" * 3000, "small")
    assert not await world.keep("too large", b"x" * 4001, "small")
    assert await world.store.held() == {"small": Held(1, 3000)}


async def test_what_is_stored_while_the_evictor_looks_is_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that began before it was there doesn't make its room free again."""
    look = world.store.held

    async def held_before_another_store_ends() -> dict[str, Held]:
        found = dict(await look())
        assert await world.keep("meanwhile", b"x" * 3000, "small")
        return found

    with monkeypatch.context() as patched:
        patched.setattr(world.store, "held", held_before_another_store_ends)
        await world.evictor.keep()
    assert await world.keep("next", b"y" * 3000, "small")
    assert await look() == {"small": Held(1, 3000)}


async def test_what_another_node_stored_goes_in_the_next_round(world: World) -> None:
    for number in range(500):
        await world.store.put(new_entry(f"{number}", outputs=(output(f"{number}", blob=None, size=0),)), "append")
    await world.evictor.keep()
    assert 240 <= (await world.store.held())["default"].entries <= 250


class Failing:
    """A store that can't be written."""

    async def held(self) -> dict[str, Held]:
        raise StoreError("the disk is full")

    async def record_uses(self, uses: dict[int, Use]) -> None:
        raise StoreError("the disk is full")


async def test_a_store_that_fails_costs_room_and_counts_but_no_answer(world: World) -> None:
    """The generation goes on to the store itself, whose failure is handled there."""
    failing: EvictingStore = Failing()  # type: ignore[assignment]
    evictor = Evictor(
        failing, world.blobs, bounds=Bounds(Bound(1)), unreferenced=world.store.unreferenced,
        catch_up=world.follower.catch_up, hook=world.events.append,
    )  # fmt: skip
    for _ in range(3):
        async with evictor.room("n", 10) as fits:
            assert fits
    uses = UseLog(failing)
    uses.add(1)
    await uses.close()


async def test_hits_are_counted_in_memory_and_written_once(world: World) -> None:
    written: list[dict[int, Use]] = []

    class Recording:
        async def record_uses(self, uses: dict[int, Use]) -> None:
            written.append(uses)

    uses = UseLog(Recording(), now=lambda: NOW)  # type: ignore[arg-type]
    for entry_id in (7, 7, 8, 7):
        uses.add(entry_id)
    assert written == []
    await uses.flush()
    await uses.flush()
    assert written == [{7: Use(3, NOW), 8: Use(1, NOW)}]
