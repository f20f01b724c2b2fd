"""The index follows the database: after a restart, another process's changes, a restored dump or a trimmed feed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cache_service.errors import StoreError
from cache_service.index.faiss import FaissIndex
from cache_service.jobs import follow
from cache_service.jobs.check import check
from cache_service.jobs.follow import Follower
from cache_service.store.base import Stored, VectorRow
from cache_service.store.blobs import FileBlobStore
from cache_service.store.entry import PurgePredicate
from cache_service.store.sql import open_store
from tests.fakes.databases import MakeDatabase
from tests.fakes.entries import MODEL, new_entry


class Node:
    """A store and an index of its own on a shared database."""

    def __init__(self, url: str, directory: Path) -> None:
        self.url, self.directory = url, directory

    async def open(self) -> Node:
        self.store = await open_store(self.url)
        self.index = FaissIndex(self.directory, 3)
        self.follower = Follower(self.store, self.index, embedding_model=MODEL)
        await self.follower.start()
        return self

    async def close(self) -> None:
        await self.store.aclose()
        await self.index.aclose()

    @property
    def found(self) -> set[int]:
        return set(self.index.entry_ids())


async def put(node: Node, name: str) -> int:
    stored = await node.store.put(new_entry(name), "keep")
    return stored.entry.id  # type: ignore[union-attr]


async def test_changes_of_one_node_reach_the_other(make_database: MakeDatabase, tmp_path: Path) -> None:
    url = make_database()
    one, other = await Node(url, tmp_path / "1").open(), await Node(url, tmp_path / "2").open()
    cat, dog = await put(one, "cat"), await put(other, "dog")
    for node in (one, other):
        await node.follower.catch_up()
        assert node.found == {cat, dog}
    await one.store.purge(PurgePredicate(key=new_entry("cat").exact_key))
    await other.follower.catch_up()
    assert other.found == {dog}
    await one.close()
    await other.close()


async def test_an_own_store_is_applied_without_reading_it_back_where_nothing_came_between(
    make_database: MakeDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_database()
    one, other = await Node(url, tmp_path / "1").open(), await Node(url, tmp_path / "2").open()
    cat, dog = new_entry("cat"), new_entry("dog")
    stored = await one.store.put(cat, "keep")
    assert isinstance(stored, Stored)
    with monkeypatch.context() as patched:
        patched.setattr(type(one.store), "changes", None)
        await one.follower.take(stored, cat)
    assert one.found == {stored.entry.id}
    assert one.index.position is not None
    assert one.index.position.number == stored.number
    others = await put(other, "mouse")
    late = await one.store.put(dog, "keep")
    assert isinstance(late, Stored)
    await one.follower.take(late, dog)  # the other's came between
    assert one.found == {stored.entry.id, others, late.entry.id}
    again = await one.store.put(cat, "append")
    assert isinstance(again, Stored)
    assert not again.fresh
    await one.follower.take(again, cat)
    assert one.found == {stored.entry.id, others, late.entry.id}
    await one.follower.catch_up()
    assert set(one.index.entry_ids()) == {stored.entry.id, others, late.entry.id}
    await one.close()
    await other.close()


async def test_a_restart_loads_the_snapshot_and_applies_what_came_after(
    make_sqlite: MakeDatabase, tmp_path: Path
) -> None:
    url = make_sqlite()
    node = await Node(url, tmp_path / "index").open()
    cat = await put(node, "cat")
    await node.follower.catch_up()
    await node.follower.save()
    dog = await put(node, "dog")
    await node.close()
    again = await Node(url, tmp_path / "index").open()
    assert again.found == {cat, dog}
    await again.close()


async def test_another_database_is_never_answered_from_the_old_index(make_sqlite: MakeDatabase, tmp_path: Path) -> None:
    node = await Node(make_sqlite(), tmp_path / "index").open()
    await put(node, "cat")
    await node.follower.catch_up()
    await node.follower.save()
    await node.close()
    other = await Node(make_sqlite(), tmp_path / "index").open()
    assert other.found == set()
    await other.close()


async def test_an_index_older_than_the_feed_is_rebuilt(make_sqlite: MakeDatabase, tmp_path: Path) -> None:
    url = make_sqlite()
    one, other = await Node(url, tmp_path / "1").open(), await Node(url, tmp_path / "2").open()
    cat = await put(one, "cat")
    await one.follower.catch_up()
    await other.store.purge(PurgePredicate(key=new_entry("cat").exact_key))
    dog = await put(other, "dog")
    await other.store.trim_changes(before=float("inf"))
    assert one.found == {cat}
    await one.follower.catch_up()
    assert one.found == {dog}
    await one.close()
    await other.close()


async def test_a_service_goes_on_while_the_index_is_rebuilt(
    make_database: MakeDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the first entries are waited for; stores and purges meanwhile hold once the rest is read, and a snapshot is there then."""
    monkeypatch.setattr(follow, "PAGE", 2)
    monkeypatch.setattr(follow, "AT_ONCE", 2)
    url = make_database()
    writer = await Node(url, tmp_path / "writer").open()
    ids = [await put(writer, name) for name in "abcdefg"]
    await writer.store.trim_changes(before=float("inf"))
    node = Node(url, tmp_path / "index")
    node.store, node.index = await open_store(url), FaissIndex(tmp_path / "index", 3)
    node.follower = Follower(node.store, node.index, embedding_model=MODEL)
    await node.follower.start(run_rebuilds=True)
    assert (node.found, node.follower.rebuilding) == (set(ids[:2]), True)
    new = await put(node, "new")
    await node.store.purge(PurgePredicate(key=new_entry("a").exact_key))
    await node.follower.catch_up(at_least=1)
    await node.follower.catch_up()
    assert node.found == set(ids[:2])
    save, saved = node.index.save, asyncio.Event()

    async def saving() -> None:
        await save()
        saved.set()

    monkeypatch.setattr(node.index, "save", saving)
    running = asyncio.create_task(node.follower.run(poll=3600, save_every=3600))
    await saved.wait()
    assert node.found == {*ids[1:], new}
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await node.close()
    again = await Node(url, tmp_path / "index").open()
    assert again.found == {*ids[1:], new}
    for each in (again, writer):
        await each.close()


async def test_a_rebuild_that_failed_goes_on_where_it_was(
    make_sqlite: MakeDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that can't be read for a moment costs that moment."""
    monkeypatch.setattr(follow, "PAGE", 2)
    node = await Node(make_sqlite(), tmp_path / "index").open()
    ids = [await put(node, name) for name in "abcde"]
    await node.store.trim_changes(before=float("inf"))
    scan, pages = node.store.scan_vectors, list[int]()

    async def failing_once(*, embedding_model: str, after_id: int, limit: int) -> list[VectorRow]:
        pages.append(after_id)
        if len(pages) == 2:
            raise StoreError("reading the database failed")
        return await scan(embedding_model=embedding_model, after_id=after_id, limit=limit)

    monkeypatch.setattr(node.store, "scan_vectors", failing_once)
    with pytest.raises(StoreError):
        await node.follower.catch_up()
    await node.follower.catch_up()
    assert node.found == set(ids)
    assert pages == [0, ids[1], ids[1], ids[3], ids[4]]
    await node.close()


async def test_check_finds_and_mends_an_index_that_differs(make_sqlite: MakeDatabase, tmp_path: Path) -> None:
    node = await Node(make_sqlite(), tmp_path / "index").open()
    blobs = await FileBlobStore.open(tmp_path / "blobs")
    entry = new_entry("cat", outputs=tuple(o.__class__(item={}, created=1) for o in new_entry("cat").outputs))
    await node.store.put(entry, "keep")
    await node.follower.catch_up()

    async def problems(*, fix: bool = False) -> list[str]:
        found = await check(node.store, blobs, node.index, node.follower, embedding_model=MODEL, fix=fix)
        return [problem.kind for problem in found]

    assert await problems() == []
    node.index.remove(1)
    async with blobs.writing([b"an orphan"]):
        pass
    assert await problems() == ["picture that no entry refers to", "entry missing in the index"]
    await problems(fix=True)
    assert await problems() == []
    assert node.found == {1}
    await node.close()
