"""What `EntryStore` promises, on every database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np
import pytest

from cache_service.errors import StoreError
from cache_service.store.base import Change, ChangeKind, RefusedByPurge, Stored
from cache_service.store.entry import NewEntry, PurgePredicate, Similar
from cache_service.store.hot import open_hot_store
from cache_service.store.sql import SqlEntryStore, open_store
from tests.fakes.databases import MakeDatabase
from tests.fakes.entries import MODEL, digest, new_entry, output, stored_vector, unit


@pytest.fixture
def url(make_database: MakeDatabase) -> str:
    return make_database()


@pytest.fixture(params=["sql", "hot"])
async def store(url: str, request: pytest.FixtureRequest) -> AsyncIterator[SqlEntryStore]:
    """With the hot tier, time stands still: what it holds stays good, unless it is dropped."""
    if request.param == "hot":
        hot = await open_hot_store(url, 2**20, clock=lambda: 5000.0, monotonic=lambda: 0.0)
        await hot.follow()
        opened: SqlEntryStore = hot
    else:
        opened = await open_store(url, clock=lambda: 5000.0)
    yield opened
    await opened.aclose()


@pytest.fixture
async def nodes(url: str) -> AsyncIterator[list[SqlEntryStore]]:
    """Four services on one database."""
    opened = [await open_store(url) for _ in range(4)]
    yield opened
    for node in opened:
        await node.aclose()


async def stored(store: SqlEntryStore, new: NewEntry, on_conflict: str = "append") -> Stored:
    outcome = await store.put(new, on_conflict)  # type: ignore[arg-type]
    assert isinstance(outcome, Stored)
    return outcome


async def find(store: SqlEntryStore, name: str) -> object:
    return await store.find(digest(name), embedding_model=MODEL)


class TestStoring:
    async def test_an_entry_is_found_as_it_was_stored(self, store: SqlEntryStore) -> None:
        made = await stored(store, new_entry())
        assert await find(store, "cat") == made.entry
        assert await store.fetch([made.entry.id, 999], embedding_model=MODEL) == {made.entry.id: made.entry}

    async def test_any_text_comes_back_unchanged(self, store: SqlEntryStore) -> None:
        text = "猫 🐈‍⬛ e\u0301 \u202e \U0010ffff \\ ' \" \x01 \r\n % _ ;"
        new = new_entry(prompt=text, model=text, tags=frozenset({text}), request={text: [text, None, 1.5, True]})
        made = await stored(store, new)
        found = await store.fetch([made.entry.id], embedding_model=MODEL)
        assert found[made.entry.id].prompt == text
        assert found[made.entry.id].request == {text: [text, None, 1.5, True]}
        assert (await store.purge(PurgePredicate(tag=text, model=text))).count == 1

    async def test_members_keep_their_order(self, store: SqlEntryStore) -> None:
        members = {"z": 1, "a": {"y": 2, "b": 3}, "m": [{"q": 1, "c": 2}]}
        await stored(store, new_entry(envelope=members, outputs=(output("o", item=members, usage=members),)))
        found = await store.find(digest("cat"), embedding_model=MODEL)
        assert found is not None
        for value in (found.envelope, found.outputs[0].item, found.outputs[0].usage):
            assert repr(value) == repr(members)

    async def test_an_unknown_key_is_not_found(self, store: SqlEntryStore) -> None:
        assert await find(store, "nobody") is None
        assert await store.fetch([], embedding_model=MODEL) == {}

    async def test_an_expired_entry_is_still_found(self, store: SqlEntryStore) -> None:
        await stored(store, new_entry(expires_at=1.0))
        assert await find(store, "cat") is not None

    async def test_the_analysis_is_that_of_the_asked_model(self, store: SqlEntryStore) -> None:
        made = await stored(store, new_entry())
        assert (made.entry.analysis_version, made.entry.exact_only) == ("1", False)
        other = (await store.fetch([made.entry.id], embedding_model="other"))[made.entry.id]
        assert (other.analysis_version, other.analysis, other.exact_only) == (None, None, False)

    async def test_an_entry_without_outputs_is_refused(self, store: SqlEntryStore) -> None:
        with pytest.raises(StoreError):
            await store.put(new_entry(outputs=()), "append")

    @pytest.mark.parametrize("value", [{"n": 2**70}, {"s": "\ud800"}])
    async def test_what_no_database_can_hold_is_a_store_error(self, store: SqlEntryStore, value: object) -> None:
        with pytest.raises(StoreError):
            await store.put(new_entry(envelope=value), "append")
        assert await store.totals() == {"entries": 0, "outputs": 0, "blob_bytes": 0}


class TestTheSameKeyAgain:
    async def test_appending_accumulates_outputs_in_order(self, store: SqlEntryStore) -> None:
        await stored(store, new_entry(outputs=(output("1"), output("2")), tags=frozenset({"a"})))
        grown = await stored(
            store,
            new_entry(outputs=(output("3"),), tags=frozenset({"a", "b"}), created_at=9.0, envelope={"other": 1}),
        )
        assert [o.item["revised_prompt"] for o in grown.entry.outputs] == ["1", "2", "3"]
        assert (grown.entry.created_at, grown.entry.envelope) == (1000.0, {"background": "opaque"})
        assert await find(store, "cat") == grown.entry
        assert await store.count(PurgePredicate(tag="b")) == 1

    async def test_appending_adds_a_vector_where_there_was_none(self, store: SqlEntryStore) -> None:
        first = await stored(store, new_entry(vector=None))
        assert first.entry.exact_only
        second = await stored(store, new_entry())
        assert not second.entry.exact_only
        assert len(await store.vectors([first.entry.id], embedding_model=MODEL)) == 1

    async def test_replacing_leaves_nothing_of_the_old(self, store: SqlEntryStore) -> None:
        old = await stored(store, new_entry(outputs=(output("1"), output("2")), tags=frozenset({"a"})))
        new = await stored(store, new_entry(outputs=(output("3"),), vector=None, created_at=9.0), "replace")
        assert new.entry.id == old.entry.id
        assert await find(store, "cat") == new.entry
        assert (new.entry.created_at, new.entry.exact_only, len(new.entry.outputs)) == (9.0, True, 1)
        assert await store.count(PurgePredicate(tag="a")) == 0
        assert await store.unreferenced({digest("1"), digest("2"), digest("3")}) == {digest("1"), digest("2")}

    async def test_keeping_changes_nothing(self, store: SqlEntryStore) -> None:
        old = await stored(store, new_entry())
        kept = await stored(store, new_entry(outputs=(output("other"),)), "keep")
        assert kept == replace(old, fresh=False)
        assert await store.changes(after=old.number, limit=10) == []

    async def test_two_nodes_storing_one_key_accumulate(self, nodes: list[SqlEntryStore]) -> None:
        puts = [nodes[i % 2].put(new_entry(outputs=(output(str(i)),)), "append") for i in range(12)]
        outcomes = await asyncio.gather(*puts)
        found = await nodes[0].find(digest("cat"), embedding_model=MODEL)
        assert found is not None
        assert sorted(o.item["revised_prompt"] for o in found.outputs) == sorted(str(i) for i in range(12))
        assert sorted(o.number for o in outcomes if isinstance(o, Stored)) == list(range(1, 13))

    async def test_of_two_nodes_that_keep_one_wins(self, nodes: list[SqlEntryStore]) -> None:
        outcomes = await asyncio.gather(
            *[nodes[i % 2].put(new_entry(outputs=(output(str(i)),)), "keep") for i in range(8)]
        )
        assert len({o.entry.outputs[0].blob for o in outcomes if isinstance(o, Stored)}) == 1
        assert (await nodes[0].position()).number == 1

    async def test_a_caller_who_goes_away_still_gets_it_stored(self, store: SqlEntryStore) -> None:
        task = asyncio.create_task(store.put(new_entry(), "append"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await store.put(new_entry("later"), "append")
        assert await find(store, "cat") is not None


CAT = new_entry("cat", tags=frozenset({"pets", "red"}), namespace="alice", model="painter-1", created_at=100.0)
DOG = new_entry("dog", tags=frozenset({"pets"}), namespace="bob", operation="chat", model=None, created_at=200.0,
                vector=stored_vector(0, 1, 0))  # fmt: skip
SUN = new_entry("sun", namespace="alice", model="painter-2", created_at=300.0, vector=None)
OLD = new_entry("old", namespace="carol", created_at=400.0, vector=stored_vector(0, 0, 1, model_id="old-model"))

PREDICATES = {
    "key": (PurgePredicate(key=CAT.exact_key), "cat"),
    "prompt": (PurgePredicate(prompt_digest=DOG.prompt_digest), "dog"),
    "tag": (PurgePredicate(tag="pets"), "cat dog"),
    "namespace": (PurgePredicate(namespace="alice"), "cat sun"),
    "operation": (PurgePredicate(operation="chat"), "dog"),
    "model": (PurgePredicate(model="painter-2"), "sun"),
    "age": (PurgePredicate(created_before=200.0), "cat"),
    "similar; what can't be compared goes too": (PurgePredicate(similar=Similar(MODEL, unit(1, 0.1, 0), 0.9)), "cat old"),
    "nothing given": (PurgePredicate(), ""),
    "everything": (PurgePredicate(everything=True), "cat dog sun old"),
    "tag and namespace": (PurgePredicate(tag="pets", namespace="bob"), "dog"),
    "tag and no such model": (PurgePredicate(tag="pets", model="none"), ""),
    "similar and namespace": (PurgePredicate(similar=Similar(MODEL, unit(1, 1, 0), 0.7), namespace="alice"), "cat"),
    "all at once": (
        PurgePredicate(
            key=CAT.exact_key, prompt_digest=CAT.prompt_digest, similar=Similar(MODEL, unit(1, 0, 0), 1.0), tag="red",
            namespace="alice", operation="images", model="painter-1", created_before=101.0,
        ),
        "cat",
    ),
}  # fmt: skip


class TestPurging:
    @pytest.mark.parametrize("name", PREDICATES)
    async def test_a_purge_takes_what_its_predicate_names_and_no_more(self, store: SqlEntryStore, name: str) -> None:
        predicate, gone = PREDICATES[name]
        for new in (CAT, DOG, SUN, OLD):
            await stored(store, new)
        dry = await store.count(predicate)
        purged = await store.purge(predicate)
        assert dry == purged.count == len(gone.split())
        assert set(purged.orphaned_blobs) == {digest(word) for word in gone.split()}
        left = {word for word in ("cat", "dog", "sun", "old") if await find(store, word) is not None}
        assert left == {"cat", "dog", "sun", "old"} - set(gone.split())

    async def test_a_generation_begins_with_a_look_and_the_newest_number(self, store: SqlEntryStore) -> None:
        for name in ("cat", "dog"):
            await stored(store, new_entry(name))
        there, number = await store.find_or_begin(digest("cat"), embedding_model=MODEL)
        assert there == await find(store, "cat")
        assert await store.find_or_begin(digest("cow"), embedding_model=MODEL) == (None, number)
        await store.purge(PurgePredicate(namespace="default"))
        assert isinstance(await store.put(new_entry("cow", began=number), "keep"), RefusedByPurge)
        there, number = await store.find_or_begin(digest("cat"), embedding_model=MODEL)
        assert (there, number) == (None, (await store.position()).number)
        assert isinstance(await store.put(new_entry("cow", began=number), "keep"), Stored)

    async def test_a_store_that_began_before_the_purge_is_refused(self, store: SqlEntryStore) -> None:
        began = (await store.position()).number
        purged = await store.purge(PurgePredicate(namespace="default"))
        assert await store.put(new_entry(began=began), "append") == RefusedByPurge(purged.number)
        assert await find(store, "cat") is None
        assert await store.totals() == {"entries": 0, "outputs": 0, "blob_bytes": 0}
        assert (await store.position()).number == purged.number

    async def test_a_store_that_began_after_the_purge_is_allowed(self, store: SqlEntryStore) -> None:
        await store.purge(PurgePredicate(namespace="default"))
        await stored(store, new_entry(began=(await store.position()).number))

    async def test_a_purge_of_something_else_refuses_nothing(self, store: SqlEntryStore) -> None:
        await store.purge(PurgePredicate(namespace="another"))
        await stored(store, new_entry(began=0))

    @pytest.mark.parametrize("on_conflict", ["append", "replace"])
    async def test_a_refused_store_leaves_the_entry_that_is_there(self, store: SqlEntryStore, on_conflict: str) -> None:
        purged = await store.purge(PurgePredicate(key=digest("cat")))
        old = await stored(store, new_entry(began=purged.number))
        refused = await store.put(new_entry(began=0, outputs=(output("late"),)), on_conflict)  # type: ignore[arg-type]
        assert refused == RefusedByPurge(purged.number)
        assert await find(store, "cat") == old.entry

    async def test_no_store_slips_past_a_purge_that_runs_beside_it(self, nodes: list[SqlEntryStore]) -> None:
        for round_ in range(40):
            began = (await nodes[0].position()).number
            name = f"cat {round_}"
            await asyncio.gather(
                nodes[0].put(new_entry(name, began=began), "append"),
                nodes[1].purge(PurgePredicate(similar=Similar(MODEL, unit(1, 0, 0), 0.9))),
                nodes[1].put(new_entry(name, began=began), "replace"),
                nodes[0].purge(PurgePredicate(tag="none")),
            )
            assert await find(nodes[0], name) is None

    async def test_blobs_that_another_entry_holds_are_not_orphans(self, store: SqlEntryStore) -> None:
        await stored(store, new_entry("cat", outputs=(output("shared"), output("own"))))
        await stored(store, new_entry("dog", outputs=(output("shared"),)))
        assert (await store.purge(PurgePredicate(key=digest("cat")))).orphaned_blobs == (digest("own"),)

    async def test_a_purge_holds_after_a_restart(self, url: str, store: SqlEntryStore) -> None:
        similar = Similar(MODEL, unit(0.3, -0.7, 0.2), 0.875)
        purged = await store.purge(PurgePredicate(similar=similar))
        again = await open_store(url)
        near = new_entry(vector=stored_vector(0.3, -0.7, 0.2))
        assert await again.put(near, "append") == RefusedByPurge(purged.number)
        await stored(again, new_entry(vector=stored_vector(-1, 0, 0)))
        await again.aclose()


class TestTheChangeFeed:
    async def test_every_change_is_numbered_without_gaps(self, store: SqlEntryStore) -> None:
        cat = (await stored(store, new_entry("cat"))).entry.id
        dog = (await stored(store, new_entry("dog", expires_at=10.0))).entry.id
        await stored(store, new_entry("cat", outputs=(output("more"),)))
        await stored(store, new_entry("cat"), "replace")
        await store.set_vectors({cat: stored_vector(0, 1, 0), 999: stored_vector(0, 1, 0)})
        await store.quarantine([dog, 999])
        await store.expire(before=11.0, limit=10)
        await store.purge(PurgePredicate(everything=True))
        nothing = await store.purge(PurgePredicate(tag="none"))
        K = ChangeKind  # noqa: N806
        assert await store.changes(after=0, limit=100) == [
            Change(1, K.STORED, cat), Change(2, K.STORED, dog), Change(3, K.OUTPUTS_ADDED, cat),
            Change(4, K.REPLACED, cat), Change(5, K.RE_EMBEDDED, cat), Change(6, K.QUARANTINED, dog),
            Change(7, K.EXPIRED, dog), Change(8, K.PURGED, cat), Change(9, K.PURGED, 0),
        ]  # fmt: skip
        assert nothing.number == 9

    async def test_a_purge_numbers_a_change_for_each_entry_and_holds_the_last(self, store: SqlEntryStore) -> None:
        ids = [(await stored(store, new_entry(str(i)))).entry.id for i in range(5)]
        purged = await store.purge(PurgePredicate(everything=True))
        assert (purged.count, purged.number) == (5, 10)
        assert [c.entry_id for c in await store.changes(after=5, limit=100)] == ids

    async def test_pages_follow_each_other(self, store: SqlEntryStore) -> None:
        for i in range(5):
            await stored(store, new_entry(str(i)))
        assert [c.number for c in await store.changes(after=1, limit=3)] == [2, 3, 4]

    async def test_a_polling_reader_misses_nothing_of_four_writers(
        self, store: SqlEntryStore, nodes: list[SqlEntryStore]
    ) -> None:
        seen: list[int] = []

        async def write(node: SqlEntryStore, writer: int) -> None:
            for i in range(30):
                await node.put(new_entry(f"{writer} {i % 20}", began=10**9), "append")

        async def poll(writing: asyncio.Task[list[None]]) -> None:
            while True:
                over = writing.done()
                seen.extend(c.number for c in await store.changes(after=seen[-1] if seen else 0, limit=1000))
                if over:
                    return

        writing = asyncio.ensure_future(asyncio.gather(*[write(node, n) for n, node in enumerate(nodes)]))
        await poll(writing)  # type: ignore[arg-type]
        await writing
        assert seen == list(range(1, 121))

    async def test_a_database_keeps_its_epoch_and_position(self, url: str, make_database: MakeDatabase) -> None:
        first = await open_store(url)
        assert (await first.position()).oldest == 1
        await stored(first, new_entry())
        before = await first.position()
        await first.aclose()
        again = await open_store(url)
        assert await again.position() == before
        assert len(before.epoch) == 32
        await again.aclose()

    async def test_trimming_takes_the_old_end_only(self, url: str) -> None:
        now = [100.0]
        store = await open_store(url, clock=lambda: now[0])
        for at in (100.0, 300.0, 50.0, 400.0):  # the clock was set back once
            now[0] = at
            await store.put(new_entry(str(at)), "append")
        assert await store.trim_changes(before=200.0) == 1
        assert [c.number for c in await store.changes(after=0, limit=10)] == [2, 3, 4]
        assert (await store.position()).oldest == 2
        assert await store.trim_changes(before=1000.0) == 3
        position = await store.position()
        assert (position.number, position.oldest) == (4, 5)
        await store.aclose()

    async def test_what_began_before_a_forgotten_purge_is_not_stored(self, store: SqlEntryStore) -> None:
        purged = await store.purge(PurgePredicate(tag="anything"))
        await store.trim_changes(before=10**6)
        assert await store.put(new_entry(began=0), "append") == RefusedByPurge(purged.number)
        await stored(store, new_entry(began=purged.number))


class TestVectors:
    async def test_all_that_can_be_found_by_meaning_are_scanned_in_pages(self, store: SqlEntryStore) -> None:
        ids = [(await stored(store, new_entry(str(i), vector=stored_vector(1, i, 0)))).entry.id for i in range(5)]
        await stored(store, new_entry("exact", vector=None))
        await stored(store, new_entry("other", vector=stored_vector(1, 0, 0, model_id="other")))
        await store.quarantine([ids[2]])
        seen, after = [], 0
        while page := await store.scan_vectors(embedding_model=MODEL, after_id=after, limit=2):
            assert len(page) <= 2
            seen += page
            after = page[-1].entry_id
        assert [row.entry_id for row in seen] == [ids[0], ids[1], ids[3], ids[4]]
        np.testing.assert_array_equal(seen[1].vector, unit(1, 1, 0))
        assert (str(seen[1].vector.dtype), seen[1].partition) == ("float32", digest("partition"))
        rows = await store.vectors([*ids, 999], embedding_model=MODEL)
        assert [row.entry_id for row in rows] == [row.entry_id for row in seen]

    async def test_a_new_models_vectors_lie_beside_the_old(self, store: SqlEntryStore) -> None:
        entry = (await stored(store, new_entry())).entry
        assert await store.set_vectors({entry.id: stored_vector(0, 1, 0, model_id="next", version="2")}) == 1
        assert await store.set_vectors({entry.id: stored_vector(0, 0, 1, model_id="next", version="3")}) == 1
        found = await store.fetch([entry.id], embedding_model="next")
        assert found[entry.id].analysis_version == "3"
        old = await store.vectors([entry.id], embedding_model=MODEL)
        np.testing.assert_array_equal(old[0].vector, unit(1, 0, 0))


class TestTakingOutOfService:
    async def test_a_quarantined_entry_is_gone_for_readers(self, store: SqlEntryStore) -> None:
        entry = (await stored(store, new_entry())).entry
        assert await store.quarantine([entry.id]) == 1
        assert await find(store, "cat") is None
        assert await store.fetch([entry.id], embedding_model=MODEL) == {}
        assert await store.vectors([entry.id], embedding_model=MODEL) == []
        assert await store.readable_blob(digest("cat"), namespace="default", now=0.0) is None
        assert await store.quarantine([entry.id]) == 0

    @pytest.mark.parametrize("on_conflict", ["append", "replace", "keep"])
    async def test_storing_again_replaces_a_quarantined_entry(self, store: SqlEntryStore, on_conflict: str) -> None:
        entry = (await stored(store, new_entry(outputs=(output("bad"),)))).entry
        await store.quarantine([entry.id])
        again = await stored(store, new_entry(outputs=(output("good"),)), on_conflict)
        assert [o.blob for o in again.entry.outputs] == [digest("good")]
        assert await find(store, "cat") == again.entry

    async def test_expiring_takes_the_longest_expired_first(self, store: SqlEntryStore) -> None:
        for name, expires_at in (("a", 30.0), ("b", 10.0), ("c", 20.0), ("d", None), ("e", 99.0)):
            await stored(store, new_entry(name, expires_at=expires_at))
        expired = await store.expire(before=50.0, limit=2)
        assert (expired.count, set(expired.orphaned_blobs)) == (2, {digest("b"), digest("c")})
        assert (await store.expire(before=50.0, limit=2)).count == 1
        nothing = await store.expire(before=50.0, limit=2)
        assert (nothing.count, nothing.number) == (0, 8)
        assert (await store.totals())["entries"] == 2


class TestBlobs:
    async def test_a_blob_is_readable_through_a_live_entry_of_the_namespace_only(self, store: SqlEntryStore) -> None:
        await stored(store, new_entry(namespace="alice", expires_at=100.0, outputs=(output("x"), output("y"))))
        found = await store.readable_blob(digest("y"), namespace="alice", now=99.0)
        assert found == output("y")
        assert await store.readable_blob(digest("y"), namespace="bob", now=99.0) is None
        assert await store.readable_blob(digest("y"), namespace="alice", now=100.0) is None
        assert await store.readable_blob(digest("z"), namespace="alice", now=99.0) is None

    async def test_every_referenced_blob_is_listed(self, store: SqlEntryStore) -> None:
        await stored(store, new_entry("a", outputs=tuple(output(str(i)) for i in range(1200))))
        await stored(store, new_entry("b", outputs=(output("7"), output("text", blob=None, size=0))))
        listed = [blob async for blob in store.referenced_blobs()]
        assert sorted(listed) == sorted(digest(str(i)) for i in range(1200))
        assert await store.unreferenced({digest("7"), digest("none")}) == {digest("none")}

    async def test_totals_count_each_blob_once(self, store: SqlEntryStore) -> None:
        assert await store.totals() == {"entries": 0, "outputs": 0, "blob_bytes": 0}
        await stored(store, new_entry("a", outputs=(output("x", size=5), output("y", size=7))))
        await stored(store, new_entry("b", outputs=(output("x", size=5), output("text", blob=None, size=0))))
        assert await store.totals() == {"entries": 2, "outputs": 4, "blob_bytes": 12}


async def test_a_healthy_store_has_no_problems(store: SqlEntryStore) -> None:
    for new in (CAT, DOG, SUN, OLD):
        await stored(store, new)
    await stored(store, replace(CAT, outputs=(output("more"),)))
    await store.purge(PurgePredicate(operation="chat"))
    assert await store.check(fix=False) == []


async def test_closing_twice_is_no_error(store: SqlEntryStore) -> None:
    await store.aclose()
    await store.aclose()


async def test_ids_are_never_used_again(store: SqlEntryStore) -> None:
    """An index on another node may still name the old entry."""
    old = (await stored(store, new_entry("cat"))).entry.id
    purged = await store.purge(PurgePredicate(everything=True))
    assert (await stored(store, new_entry("dog", began=purged.number))).entry.id > old
