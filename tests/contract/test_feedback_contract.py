"""What `FeedbackStore` promises, on every database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from cache_service.store.base import ChangeKind
from cache_service.store.entry import ServedHit
from cache_service.store.sql import SqlEntryStore, open_store
from tests.fakes.databases import MakeDatabase
from tests.fakes.entries import digest, new_entry

HIT = ServedHit("alice", "images", "r1", digest("dog"), "d-dog", digest("cat"), "d-cat", 0.953, 100.25)


@pytest.fixture
def url(make_database: MakeDatabase) -> str:
    return make_database()


@pytest.fixture
async def store(url: str) -> AsyncIterator[SqlEntryStore]:
    opened = await open_store(url, clock=lambda: 5000.0)
    yield opened
    await opened.aclose()


async def test_a_hit_is_found_as_it_was_recorded(store: SqlEntryStore) -> None:
    shadow = replace(HIT, request_id="r2", asked_key=digest("fox"), shadow=True, similarity=0.1 + 0.2)
    await store.record_hits([HIT, shadow])
    assert await store.find_hit(namespace="alice", request_id="r1") == HIT
    assert await store.find_hit(namespace="alice", key=HIT.asked_key) == HIT
    assert await store.find_hit(namespace="alice", key=shadow.asked_key) == shadow
    await store.record_hits([])


async def test_of_several_the_newest_is_found(store: SqlEntryStore) -> None:
    later = replace(HIT, request_id="r2", asked_key=digest("fox"), at=50.0)
    await store.record_hits([HIT, later, replace(HIT, namespace="bob")])
    assert await store.find_hit(namespace="alice", key=HIT.stored_key) == later


async def test_another_namespaces_hits_are_not_there(store: SqlEntryStore) -> None:
    await store.record_hits([HIT])
    assert await store.find_hit(namespace="bob", key=HIT.asked_key) is None
    assert await store.find_hit(namespace="bob", request_id="r1") is None
    assert await store.find_hit(namespace="alice") is None


@pytest.mark.parametrize("keep", [0, 1, 3, 9])
async def test_the_record_is_bounded_and_keeps_the_newest(store: SqlEntryStore, keep: int) -> None:
    await store.record_hits([replace(HIT, request_id=f"r{n}") for n in range(5)])
    assert await store.trim_hits(keep=keep) == max(0, 5 - keep)
    left = [n for n in range(5) if await store.find_hit(namespace="alice", request_id=f"r{n}")]
    assert left == list(range(5))[max(0, 5 - keep) :]


async def test_feedback_survives_a_restart_and_its_hit(url: str, store: SqlEntryStore) -> None:
    given = await store.add_feedback(HIT, "wrong", client="web")
    assert (given.hit, given.verdict, given.client, given.at, given.undone) == (HIT, "wrong", "web", 5000.0, None)
    again = await open_store(url)
    assert await again.feedback_after(0) == [given]
    assert await again.feedback_after(given.number) == []
    await again.aclose()


async def test_undoing_is_seen_by_who_polls_and_stays_on_record(store: SqlEntryStore) -> None:
    given = await store.add_feedback(HIT, "wrong", client="web")
    other = await store.add_feedback(HIT, "right", client="web")
    undone = await store.undo_feedback(given.number)
    assert undone is not None
    assert undone.undone is not None
    assert undone.undone > other.number
    assert await store.feedback_after(other.number) == [undone]
    assert await store.undo_feedback(given.number) == undone
    assert await store.undo_feedback(12345) is None
    assert await store.list_feedback(namespace=None, before=None, limit=9) == [other, undone]


async def test_each_is_a_change_of_the_feed_that_names_no_entry(store: SqlEntryStore) -> None:
    await store.put(new_entry(), "append")
    given = await store.add_feedback(HIT, "wrong", client="web")
    await store.undo_feedback(given.number)
    kinds = [(change.number, change.kind, change.entry_id > 0) for change in await store.changes(after=0, limit=9)]
    assert kinds == [(1, ChangeKind.STORED, True), (2, ChangeKind.JUDGED, False), (3, ChangeKind.JUDGED, False)]
    assert (await store.position()).number == 3
    assert await store.check(fix=False) == []


async def test_the_list_has_pages_namespaces_and_the_prompts_that_are_stored(store: SqlEntryStore) -> None:
    await store.put(new_entry("cat"), "append")
    given = [
        await store.add_feedback(replace(HIT, namespace=name), "wrong", client=name)
        for name in ("alice", "bob", "alice")
    ]
    newest = await store.list_feedback(namespace="alice", before=None, limit=1)
    assert [one.number for one in newest] == [given[2].number]
    assert (newest[0].asked_prompt, newest[0].stored_prompt) == (None, "cat")
    older = await store.list_feedback(namespace="alice", before=newest[0].number, limit=9)
    assert [one.number for one in older] == [given[0].number]
    assert len(await store.list_feedback(namespace=None, before=None, limit=9)) == 3


async def test_who_polls_misses_nothing_of_what_nodes_say_at_once(url: str, store: SqlEntryStore) -> None:
    nodes = [await open_store(url) for _ in range(3)]
    seen: set[int] = set()
    last = 0

    async def say(node: SqlEntryStore, count: int) -> None:
        for n in range(count):
            given = await node.add_feedback(replace(HIT, request_id=str(n)), "wrong", client="c")
            if n % 2:
                await node.undo_feedback(given.number)

    saying = asyncio.gather(*(say(node, 10) for node in nodes))
    while not saying.done() or len(seen) < 45:
        for one in await store.feedback_after(last):
            seen |= {one.number} | ({one.undone} if one.undone else set())
            last = max(last, one.number, one.undone or 0)
        await asyncio.sleep(0)
    await saying
    assert seen == set(range(1, 46))
    for node in nodes:
        await node.aclose()
