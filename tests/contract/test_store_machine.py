"""Any sequence of stores, purges, expiries and restarts leaves what a plain-Python model says, and the feed tells it all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from cache_service.store.base import ChangeKind, OnConflict, RefusedByPurge, Stored
from cache_service.store.entry import NewEntry, Output, PurgePredicate, Similar, StoredVector
from cache_service.store.hot import HotEntryStore, open_hot_store
from cache_service.store.records import EntryFilter, Word
from cache_service.store.sql import SqlEntryStore, open_store
from tests.fakes.databases import MakeDatabase
from tests.fakes.entries import MODEL, digest, new_entry, output, stored_vector, unit

T = TypeVar("T")

OTHER = "other-model"
NAMES = st.sampled_from(["cat", "dog", "sun", "sea"])
TAGS = st.frozensets(st.sampled_from(["a", "b"]))
MODELS = st.sampled_from([None, "painter-1", "painter-2"])
NAMESPACES = st.sampled_from(["alice", "bob"])
DIRECTIONS = st.sampled_from([(1, 0, 0), (1, 1, 0), (0, 1, 0), (0.9, 0.1, 0.1), (-1, 0, 0)])
TIMES = st.sampled_from([100.0, 200.0, 300.0])
VECTORS = st.none() | st.builds(
    lambda direction, model: stored_vector(*direction, model_id=model), DIRECTIONS, st.sampled_from([MODEL, OTHER])
)
PREDICATES = st.builds(
    PurgePredicate,
    key=st.none() | NAMES.map(digest),
    prompt_digest=st.none() | NAMES.map(lambda name: digest(f"prompt {name}")),
    similar=st.none()
    | st.builds(
        lambda direction, at_least: Similar(MODEL, unit(*direction), at_least),
        DIRECTIONS,
        st.sampled_from([0.0, 0.7, 0.70710678, 0.99, 1.0]),
    ),
    tag=st.none() | st.sampled_from(["a", "b"]),
    namespace=st.none() | NAMESPACES,
    operation=st.none() | st.just("images"),
    model=st.none() | MODELS,
    created_before=st.none() | TIMES,
    everything=st.just(False),
)
ONE_MEMBER = st.one_of(
    st.just(PurgePredicate(everything=True)),
    NAMES.map(lambda name: PurgePredicate(key=digest(name))),
    st.sampled_from(["a", "b"]).map(lambda tag: PurgePredicate(tag=tag)),
    NAMESPACES.map(lambda namespace: PurgePredicate(namespace=namespace)),
    DIRECTIONS.map(lambda direction: PurgePredicate(similar=Similar(MODEL, unit(*direction), 0.9))),
)


@dataclass
class Kept:
    """An entry of the model."""

    id: int
    new: NewEntry
    vectors: dict[str, StoredVector]
    live: bool = True

    def falls_under(self, predicate: PurgePredicate) -> bool:
        asked = predicate.similar.model_id if predicate.similar else MODEL
        vector = self.vectors.get(asked) or next(iter(self.vectors.values()), None)
        return predicate.matches(replace(self.new, vector=vector))


@dataclass
class Model:
    """What the database should hold."""

    entries: dict[str, Kept] = field(default_factory=dict)
    purges: list[tuple[int, PurgePredicate]] = field(default_factory=list)
    number: int = 0

    def remove(self, keys: list[str]) -> tuple[int, set[str]]:
        gone = [self.entries.pop(key) for key in keys]
        held = {o.blob for kept in self.entries.values() for o in kept.new.outputs}
        return len(gone), {o.blob for kept in gone for o in kept.new.outputs if o.blob} - held


class StoreMachine(RuleBasedStateMachine):
    """Drives the store and the model side by side."""

    make: MakeDatabase

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.url = self.make()
        self.store = self.run(self.open())
        self.writer: SqlEntryStore = self.store
        self.model = Model()
        self.followed = 0
        self.index: set[int] = set()
        self.pictures = 0

    async def open(self) -> SqlEntryStore:
        return await open_store(self.url, clock=lambda: 0.0)

    def run(self, work: Awaitable[T]) -> T:
        async def wait() -> T:
            return await work

        return self.runner.run(wait())

    def teardown(self) -> None:
        problems = self.run(self.store.check(fix=True))  # also of the index of words, word for word
        self.run(self.store.aclose())
        self.runner.close()
        assert problems == []

    @rule(
        name=NAMES, tags=TAGS, model=MODELS, namespace=NAMESPACES, vector=VECTORS, created_at=TIMES,
        expires_at=st.none() | TIMES, count=st.integers(1, 3), behind=st.integers(0, 3), shared=st.booleans(),
        on_conflict=st.sampled_from(["append", "append", "replace", "keep"]),
    )  # fmt: skip
    def store_one(
        self, name: str, count: int, behind: int, shared: bool, on_conflict: OnConflict, **members: Any
    ) -> None:
        outputs = tuple(self.picture(shared) for _ in range(count))
        new = new_entry(name, outputs=outputs, began=max(0, self.model.number - behind), **members)
        outcome = self.run(self.writer.put(new, on_conflict))
        kept = self.model.entries.get(name)
        live = kept is not None and kept.live
        if live and on_conflict == "keep":
            assert isinstance(outcome, Stored)
            assert (outcome.entry.id, outcome.number) == (kept.id, self.model.number)  # type: ignore[union-attr]
            return
        refusing = [number for number, predicate in self.model.purges if number > new.began and predicate.matches(new)]
        if refusing:
            assert outcome == RefusedByPurge(refusing[0])
            return
        assert isinstance(outcome, Stored)
        self.model.number += 1
        assert outcome.number == self.model.number
        vectors = {} if new.vector is None else {new.vector.model_id: new.vector}
        if kept is not None and live and on_conflict == "append":
            joined = replace(kept.new, outputs=kept.new.outputs + outputs, tags=kept.new.tags | new.tags)
            self.model.entries[name] = Kept(kept.id, joined, {**vectors, **kept.vectors})
        else:
            assert kept is None or kept.id == outcome.entry.id
            self.model.entries[name] = Kept(outcome.entry.id, new, vectors)

    def picture(self, shared: bool) -> Output:
        self.pictures += 1
        return output("shared" if shared else str(self.pictures))

    @rule(predicate=PREDICATES | ONE_MEMBER)
    def purge(self, predicate: PurgePredicate) -> None:
        keys = [key for key, kept in self.model.entries.items() if kept.falls_under(predicate)]
        assert self.run(self.store.count(predicate)) == len(keys)
        purged = self.run(self.writer.purge(predicate))
        if not predicate.empty:
            self.model.number += max(1, len(keys))
            self.model.purges.append((self.model.number, predicate))
        count, orphaned = self.model.remove(keys)
        assert (purged.count, purged.number) == (count, self.model.number)
        assert set(purged.orphaned_blobs) == orphaned

    @rule(before=TIMES, limit=st.integers(1, 2))
    def expire(self, before: float, limit: int) -> None:
        old = [(k.new.expires_at, k.id, key) for key, k in self.model.entries.items() if k.new.expires_at is not None]
        keys = [key for at, _, key in sorted(old) if at < before][:limit]
        expired = self.run(self.writer.expire(before=before, limit=limit))
        count, orphaned = self.model.remove(keys)
        self.model.number += count
        assert (expired.count, expired.number, set(expired.orphaned_blobs)) == (count, self.model.number, orphaned)

    @rule(name=NAMES)
    def quarantine(self, name: str) -> None:
        kept = self.model.entries.get(name)
        count = self.run(self.writer.quarantine([kept.id] if kept else []))
        assert count == (kept is not None and kept.live)
        if kept is not None:
            self.model.number += kept.live
            kept.live = False

    @rule(name=NAMES)
    def search(self, name: str) -> None:
        """What nobody searches for is never learnt here: such entries go and change like those that are."""
        page = self.run(self.store.list_entries(EntryFilter(text=(Word(name),)), after=None, limit=9))
        assert [entry.prompt for entry in page.entries] == [name] * (name in self.model.entries)

    @rule()
    def reopen(self) -> None:
        self.run(self.store.aclose())
        self.store = self.writer = self.run(self.open())

    @invariant()
    def every_entry_is_found_as_the_model_has_it(self) -> None:
        for name in ("cat", "dog", "sun", "sea"):
            found = self.run(self.store.find(digest(name), embedding_model=MODEL))
            kept = self.model.entries.get(name)
            if kept is None or not kept.live:
                assert found is None
            else:
                assert found is not None
                assert (found.id, found.outputs, found.exact_only) == (kept.id, kept.new.outputs, not kept.vectors)

    @invariant()
    def an_index_that_follows_the_changes_has_what_a_scan_gives(self) -> None:
        changes = self.run(self.store.changes(after=self.followed, limit=1000))
        assert [change.number for change in changes] == list(range(self.followed + 1, self.model.number + 1))
        self.followed = self.model.number
        for change in changes:
            if change.kind in {ChangeKind.PURGED, ChangeKind.EXPIRED, ChangeKind.QUARANTINED}:
                self.index.discard(change.entry_id)
            elif self.run(self.store.vectors([change.entry_id], embedding_model=MODEL)):
                self.index.add(change.entry_id)
            else:
                self.index.discard(change.entry_id)
        scanned = self.run(self.store.scan_vectors(embedding_model=MODEL, after_id=0, limit=100))
        expected = {kept.id for kept in self.model.entries.values() if kept.live and MODEL in kept.vectors}
        assert self.index == {row.entry_id for row in scanned} == expected


class HotStoreMachine(StoreMachine):
    """The same with a hot tier in front, in which time stands still; now and then another node writes, and this one follows the feed."""

    def __init__(self) -> None:
        super().__init__()
        self.other = self.run(open_store(self.url, clock=lambda: 0.0))

    async def open(self) -> SqlEntryStore:
        store = await open_hot_store(self.url, 2**20, clock=lambda: 0.0, monotonic=lambda: 0.0)
        await store.follow()
        return store

    def teardown(self) -> None:
        self.run(self.other.aclose())
        super().teardown()

    @rule(elsewhere=st.booleans())
    def from_now_on_writes_come_from(self, elsewhere: bool) -> None:
        self.writer = self.other if elsewhere else self.store

    @rule(name=NAMES, model=st.sampled_from([MODEL, OTHER]))
    def a_vector_is_filed(self, name: str, model: str) -> None:
        kept = self.model.entries.get(name)
        if kept is not None and kept.live:
            vector = stored_vector(0, 1, 0, model_id=model, version="2")
            self.model.number += self.run(self.writer.set_vectors({kept.id: vector}))
            kept.vectors = {**kept.vectors, model: vector}

    @invariant()
    def every_entry_is_found_as_the_model_has_it(self) -> None:
        assert isinstance(self.store, HotEntryStore)
        if self.writer is self.other:
            self.run(self.store.follow())
        for name in ("cat", "dog", "sun", "sea"):
            held = self.run(self.store.find(digest(name), embedding_model=MODEL))
            assert held == self.run(self.other.find(digest(name), embedding_model=MODEL))
            if held is not None:
                assert self.run(self.store.fetch([held.id], embedding_model=MODEL)) == {held.id: held}
        super().every_entry_is_found_as_the_model_has_it()


def run_machine(make: MakeDatabase, *, examples: int, base: type[StoreMachine] = StoreMachine) -> None:
    machine = type("Machine", (base,), {"make": staticmethod(make)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_sqlite_is_what_the_model_says(make_sqlite: MakeDatabase) -> None:
    """Stores, appends, replaces, purges, expires, quarantines and reopens in any order."""
    run_machine(make_sqlite, examples=30)


def test_postgresql_is_what_the_model_says(make_postgresql: MakeDatabase) -> None:
    """The same on PostgreSQL."""
    run_machine(make_postgresql, examples=8)


def test_a_store_with_a_hot_tier_is_what_the_model_says(make_sqlite: MakeDatabase) -> None:
    """Whatever this node or another changes, nothing that is gone or was replaced is found in memory."""
    run_machine(make_sqlite, examples=30, base=HotStoreMachine)
