"""What `AdminStore` promises, on every database."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa

from cache_service.errors import StoreError
from cache_service.store import listing
from cache_service.store import words as store_words
from cache_service.store.base import Stored
from cache_service.store.engine import OPERATORS
from cache_service.store.entry import NewEntry, PurgePredicate, ServedHit
from cache_service.store.records import Act, EntryFilter, NewKey, Place, Word
from cache_service.store.sql import SqlEntryStore, open_store
from cache_service.store.tables import entries, outputs
from tests.fakes.databases import MakeDatabase
from tests.fakes.entries import digest, new_entry, output

HIT = ServedHit("default", "images", "r1", digest("dog"), "d-dog", digest("cat"), "d-cat", 0.953, 100.25)
ANN = Act("ann", "test")
KEY = NewKey("web", "team", "client", "ab" * 32, 5.0)


@pytest.fixture
async def store(make_database: MakeDatabase) -> AsyncIterator[SqlEntryStore]:
    opened = await open_store(make_database(), clock=lambda: 5000.0)
    yield opened
    await opened.aclose()


async def fill(store: SqlEntryStore, *names: str, **members: Any) -> list[int]:
    """Entries of those names; their ids."""
    ids = []
    for name in names:
        stored = await store.put(new_entry(name, **members), "append")
        assert isinstance(stored, Stored)
        ids.append(stored.entry.id)
    return ids


async def names(store: SqlEntryStore, limit: int = 50, **wanted: Any) -> list[str]:
    page = await store.list_entries(EntryFilter(**wanted), after=None, limit=limit)
    return [entry.prompt for entry in page.entries]


def words(*texts: str) -> tuple[Word, ...]:
    return tuple(Word(text.removesuffix("*"), text.endswith("*")) for text in texts)


class TestLists:
    async def test_newest_first_and_page_by_page(self, store: SqlEntryStore) -> None:
        """Nothing twice, nothing left out, whatever a page holds; the last page says so."""
        await fill(store, *"abcdefg")
        for limit in (1, 2, 3, 7, 8):
            seen: list[str] = []
            after: Place | None = None
            while True:
                page = await store.list_entries(EntryFilter(), after=after, limit=limit)
                seen += [entry.prompt for entry in page.entries]
                if page.next is None:
                    break
                after = page.next
            assert seen == list("gfedcba")

    async def test_a_row_says_what_it_is(self, store: SqlEntryStore) -> None:
        await fill(store, "x" * 2000, outputs=(output("o"), output("p")), expires_at=9.5, model=None)
        ((row,), following) = (lambda page: (page.entries, page.next))(
            await store.list_entries(EntryFilter(), after=None, limit=5)
        )
        assert following is None
        assert (row.prompt, row.outputs, row.blob, row.media_type) == ("x" * 500, 2, digest("o"), "image/png")
        assert (row.expires_at, row.model, row.state, row.client) == (9.5, None, "live", "tests")

    async def test_each_filter_and_all_together(self, store: SqlEntryStore) -> None:
        await fill(store, "red fox", namespace="one", model="m1", tags=frozenset({"t"}), created_at=10.0)
        await fill(store, "blue fox", namespace="two", model="m1", tags=frozenset({"t", "u"}), created_at=20.0)
        await fill(store, "red cat", namespace="two", model="m2", operation="chat", created_at=30.0)
        assert await names(store, namespace="two") == ["red cat", "blue fox"]
        assert await names(store, model="m1") == ["blue fox", "red fox"]
        assert await names(store, operation="chat") == ["red cat"]
        assert await names(store, tag="t") == ["blue fox", "red fox"]
        assert await names(store, newer_than=20.0) == ["red cat", "blue fox"]
        assert await names(store, older_than=20.0) == ["red fox"]
        assert await names(store, text=words("fox")) == ["blue fox", "red fox"]
        assert await names(store, namespace="two", model="m1", tag="t", newer_than=5.0, text=words("fox")) == [
            "blue fox"
        ]
        assert await names(store, namespace="two", model="m2", older_than=30.0) == []
        assert await names(store, tag="nobody") == []

    async def test_by_age_the_order_is_that_of_the_age(self, store: SqlEntryStore) -> None:
        """Also over pages, and where several are equally old."""
        for name, at in (("a", 30.0), ("b", 10.0), ("c", 20.0), ("d", 20.0)):
            await fill(store, name, created_at=at)
        seen, after = [], None
        for _ in range(4):
            page = await store.list_entries(EntryFilter(newer_than=0.0), after=after, limit=1)
            seen += [entry.prompt for entry in page.entries]
            after = page.next
        assert (seen, after) == (list("adcb"), None)

    async def test_a_page_never_looks_at_more_than_its_share(
        self, store: SqlEntryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is rare is found after some empty pages, each of which says where to go on."""
        monkeypatch.setattr(listing, "SCANNED", 3)
        await fill(store, "rare", operation="chat")
        await fill(store, *"abcdefgh")
        for wanted in (EntryFilter(operation="chat"), EntryFilter(newer_than=1.0, operation="chat")):
            pages, after = [], None
            while not pages or after is not None:
                page = await store.list_entries(wanted, after=after, limit=2)
                pages.append([entry.prompt for entry in page.entries])
                after = page.next
            assert [prompt for page in pages for prompt in page] == ["rare"]
            assert len(pages) == 4

    async def test_the_query_walks_indexes(self, make_sqlite: MakeDatabase) -> None:
        """At any number of entries: no step reads a table from end to end. (PostgreSQL chooses by statistics, of which a test has none.)"""
        store = await open_store(make_sqlite())
        leaders = {
            "entry_words VIRTUAL TABLE INDEX": EntryFilter(text=words("a"), namespace="n"),
            "ix_tags_tag_entry_id (tag=? AND entry_id<?)": EntryFilter(tag="t", model="m"),
            "ix_entries_created_at_id (created_at>? AND created_at<?)": EntryFilter(newer_than=1.0, namespace="n"),
            "ix_entries_namespace_id (namespace=? AND id<?)": EntryFilter(namespace="n", model="m"),
            "ix_entries_model_id (model=? AND id<?)": EntryFilter(model="m", operation="chat"),
            "SEARCH entries USING INTEGER PRIMARY KEY (rowid<?)": EntryFilter(operation="chat"),
        }
        for used, wanted in leaders.items():
            given = listing.parameters(wanted, Place(5.0, 5), 50, sqlite=True)
            query = listing.statement(frozenset(given), sqlite=True).params(given)
            plan = "\n".join(await store._database.read(lambda c, q=query: _plan(c, q)))  # type: ignore[misc]
            assert used in plan, plan
            assert "SCAN entries" not in plan
            assert "SCAN tags" not in plan
            assert "SCAN outputs" not in plan
        await store.aclose()


async def test_pictures_and_what_has_expired_are_found_by_index(make_sqlite: MakeDatabase) -> None:
    """Though it holds only the rows that have a picture, or a lifetime."""
    store = await open_store(make_sqlite())
    used = {
        "ix_outputs_blob (blob=?)": sa.select(outputs.c.blob).distinct().where(outputs.c.blob.in_(["a", "b"])),
        "ix_outputs_blob (blob>?)": sa.select(outputs.c.blob).where(outputs.c.blob > "a").order_by(outputs.c.blob),
        "ix_entries_expires_at (expires_at<?)": sa.select(entries.c.id)
        .where(entries.c.expires_at < 5.0)
        .order_by(entries.c.expires_at, entries.c.id),
    }
    for index, query in used.items():
        plan = "\n".join(await store.database.read(lambda c, q=query: _plan(c, q)))  # type: ignore[misc]
        assert index in plan, plan
        assert "TEMP B-TREE" not in plan.replace("TEMP B-TREE FOR DISTINCT", "")
    await store.aclose()


async def test_what_operators_look_at_takes_no_connection_from_a_hit(store: SqlEntryStore) -> None:
    """However many slow pages are asked for, and however slow they are; they come one after the other."""
    loop, entered = asyncio.get_running_loop(), asyncio.Queue[int]()
    leave, leave_thread = asyncio.Event(), threading.Event()

    async def slow(connection: Any, number: int) -> int:
        loop.call_soon_threadsafe(entered.put_nowait, number)
        if store.database.is_sqlite:
            leave_thread.wait()  # such work has a thread of its own, and may wait for nothing else
        else:
            await leave.wait()
        return number

    pages = [
        asyncio.create_task(store.database.look(lambda c, n=n: slow(c, n)))  # type: ignore[misc]
        for n in range(3 * OPERATORS)
    ]
    for _ in range(OPERATORS):
        await entered.get()
    assert await store.find("0" * 64, embedding_model="m") is None
    assert entered.empty()
    leave.set()
    leave_thread.set()
    assert await asyncio.gather(*pages) == list(range(3 * OPERATORS))


async def _plan(connection: Any, query: sa.Select[Any]) -> list[str]:
    compiled = query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
    return [row[-1] for row in await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")]


async def _column(connection: Any, statement: str) -> list[Any]:
    return [row[0] for row in await connection.exec_driver_sql(statement)]


class TestWords:
    @pytest.mark.parametrize(
        ("asked", "found"),
        [
            (("fox",), ["The red-brown FOX's den", "a fox"]),
            (("fo",), []),
            (("fo*",), ["The red-brown FOX's den", "a fox"]),
            (("red", "fox"), ["The red-brown FOX's den"]),
            (("red-brown",), ["The red-brown FOX's den"]),
            (("крас*",), ["Красная лиса"]),
            (("лиса",), ["Красная лиса"]),
            (("été",), ["un été"]),
            (("AND",), []),
            (("fox*", "NOT", "den"), []),
            (('"', "fox"), ["The red-brown FOX's den", "a fox"]),
            (("'", "\\", "fox"), ["The red-brown FOX's den", "a fox"]),
            (("prompt:fox",), []),
            (("fox')--",), ["The red-brown FOX's den", "a fox"]),
            (("\u0301",), []),
        ],
    )
    async def test_prompts_are_found_by_words_and_beginnings(
        self, store: SqlEntryStore, asked: tuple[str, ...], found: list[str]
    ) -> None:
        """In any script; nothing in a word is an operator."""
        await fill(store, "a fox", "The red-brown FOX's den", "Красная лиса", "un été")
        assert await names(store, text=words(*asked)) == found

    @pytest.mark.parametrize("searched_before", [False, True])
    async def test_whoever_searches_sees_what_is_there(self, store: SqlEntryStore, searched_before: bool) -> None:
        """Stored, replaced, purged and expired entries, whether the index knew them or not; a refused store leaves nothing."""
        (first, _) = await fill(store, "old words", "stays")
        if searched_before:
            assert await names(store, text=words("old")) == ["old words"]
        kept = replace(new_entry("old words"), prompt="new words")
        await store.put(kept, "replace")
        if searched_before:
            assert await names(store, text=words("old")) == []
            assert await names(store, text=words("new")) == ["new words"]
        await store.purge(PurgePredicate(key=kept.exact_key))
        assert await names(store, text=words("new")) == []
        await fill(store, "late", began=0, tags=frozenset({"never"}))
        await store.expire(before=1e12, limit=9)
        assert await names(store, text=words("stays")) == ["stays"]
        assert first > 0

    async def test_all_is_found_however_much_the_index_has_to_learn(
        self, store: SqlEntryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In several transactions; afterwards it is the index of what is there, and of nothing else."""
        monkeypatch.setattr(store_words, "AT_ONCE", 3)
        for count in range(1, 9):
            await asyncio.gather(*(store.put(new_entry(f"fox {count} {n}"), "append") for n in range(count)))
            assert len(await names(store, text=words("fox", str(count)))) == count
        assert await store.check(fix=True) == []

    async def test_prompts_are_learnt_behind_so_many_stores(
        self, make_sqlite: MakeDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Though nobody searches; else the first who does would wait for a million of them."""
        monkeypatch.setattr(store_words, "AT_ONCE", 3)
        store = await open_store(make_sqlite())
        await fill(store, *"abcdefg")
        await store._words.aclose()
        (learnt,) = await store.database.read(lambda c: _column(c, "SELECT count(*) FROM entry_words_docsize"))
        assert learnt >= 6
        await store.aclose()

    async def test_who_searches_waits_for_no_write_that_cannot_be(
        self, store: SqlEntryStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A full disk, say: what the index knew already is found."""
        await fill(store, "old fox")
        assert await names(store, text=words("fox")) == ["old fox"]
        await fill(store, "new fox")

        async def full(work: Any) -> Any:
            raise StoreError("full")

        with monkeypatch.context() as patched:
            patched.setattr(store.database, "write", full)
            assert "old fox" in await names(store, text=words("fox"))
        assert await names(store, text=words("fox")) == ["new fox", "old fox"]

    async def test_a_very_long_prompt_is_stored_and_found_by_its_beginning(self, store: SqlEntryStore) -> None:
        """Conversations may have millions of characters, which no tsvector holds."""
        text = "beginning " + " ".join(f"word{n}" for n in range(300_000)) + " theend"
        await fill(store, text)
        assert len(await names(store, text=words("beginning"))) == 1
        assert await names(store, text=words("theend")) == []


class TestOneEntry:
    async def test_all_of_it_is_told(self, store: SqlEntryStore) -> None:
        new: NewEntry = new_entry("cat", tags=frozenset({"b", "a"}), outputs=(output("1"), output("2")))
        (entry_id,) = await fill(store, "cat", tags=new.tags, outputs=new.outputs)
        found = await store.entry_detail(entry_id)
        assert found is not None
        assert (found.prompt, found.request, found.made, found.tags) == ("cat", new.request, new.made, ("a", "b"))
        assert found.outputs == new.outputs
        assert await store.entry_id(digest("cat")) == entry_id
        assert await store.entry_detail(entry_id + 1) is None
        assert await store.entry_id("nobody") is None

    async def test_a_quarantined_one_is_told_as_such(self, store: SqlEntryStore) -> None:
        (entry_id,) = await fill(store, "cat")
        await store.quarantine([entry_id])
        found = await store.entry_detail(entry_id)
        assert found is not None
        assert found.summary.state == "quarantined"

    async def test_hits_that_it_had_a_part_in(self, store: SqlEntryStore) -> None:
        """On either side, newest first, of its namespace alone."""
        asked = replace(HIT, request_id="r2", asked_key=digest("cat"), stored_key=digest("fox"))
        other = replace(HIT, namespace="other")
        await store.record_hits([HIT, asked, other, replace(HIT, stored_key=digest("fox"))])
        assert await store.hits_of(namespace="default", key=digest("cat"), limit=9) == [asked, HIT]
        assert await store.hits_of(namespace="default", key=digest("cat"), limit=1) == [asked]

    async def test_a_picture_is_found_whoever_s_it_is(self, store: SqlEntryStore) -> None:
        await fill(store, "cat", namespace="private")
        found = await store.any_output(digest("cat"))
        assert found is not None
        assert found.media_type == "image/png"
        assert await store.any_output(digest("nothing")) is None


class TestJudgedTraffic:
    async def test_hits_and_verdicts_by_similarity(self, store: SqlEntryStore) -> None:
        """Bands of 0.005 by their lower edge; what was undone doesn't count."""
        await store.record_hits([replace(HIT, similarity=s) for s in (0.92, 0.9249, 0.925, 0.95)])
        await store.add_feedback(replace(HIT, similarity=0.92), "wrong", client="c")
        await store.add_feedback(replace(HIT, similarity=0.95), "right", client="c")
        undone = await store.add_feedback(replace(HIT, similarity=0.95), "wrong", client="c")
        await store.undo_feedback(undone.number)
        found = await store.judged(namespace=None, operation=None)
        assert found == [(0.92, None, 2), (0.92, "wrong", 1), (0.925, None, 1), (0.95, None, 1), (0.95, "right", 1)]
        assert await store.judged(namespace="default", operation="images") == found
        assert await store.judged(namespace="other", operation=None) == []
        assert await store.judged(namespace=None, operation="chat") == []


class TestKeys:
    async def test_a_key_is_made_and_revoked_for_good(self, store: SqlEntryStore) -> None:
        assert not await store.clients_exist()
        made = await store.add_key(KEY, by=Act("ann", "key.create"))
        assert (made.name, made.role, made.usd_per_day, made.created_by, made.created_at) == (
            "web",
            "client",
            5.0,
            "ann",
            5000.0,
        )
        assert await store.live_keys() == [made]
        revoked = await store.revoke_key(made.id, by=ANN)
        assert revoked == replace(made, revoked_at=5000.0)
        assert await store.revoke_key(made.id, by=ANN) == revoked
        assert await store.live_keys() == []
        assert await store.list_keys(before=None, limit=9) == [revoked]
        assert await store.revoke_key(99, by=ANN) is None
        assert await store.clients_exist()

    async def test_the_same_key_twice_is_refused(self, store: SqlEntryStore) -> None:
        await store.add_key(KEY, by=ANN)
        with pytest.raises(StoreError):
            await store.add_key(replace(KEY, name="other"), by=ANN)
        assert len(await store.list_acts(before=None, limit=9)) == 1

    async def test_keys_have_pages(self, store: SqlEntryStore) -> None:
        made = [await store.add_key(replace(KEY, digest=str(n), role="viewer"), by=ANN) for n in range(5)]
        assert await store.list_keys(before=None, limit=2) == [made[4], made[3]]
        assert await store.list_keys(before=made[3].id, limit=9) == [made[2], made[1], made[0]]
        assert not await store.clients_exist()


class TestAudit:
    async def test_what_an_operator_changes_is_on_record_with_it(self, store: SqlEntryStore) -> None:
        """Who, when, what, and how many; newest first."""
        await fill(store, "cat", "dog")
        await store.purge(PurgePredicate(everything=True), by=Act("ann", "purge", {"all": True}))
        given = await store.add_feedback(HIT, "wrong", client="bob", by=Act("bob", "feedback.give"))
        await store.undo_feedback(given.number, by=Act("bob", "feedback.undo", {"id": given.number}))
        await store.undo_feedback(given.number, by=Act("bob", "feedback.undo"))
        made = await store.add_key(KEY, by=Act("ann", "key.create", {"name": "web"}))
        await store.revoke_key(made.id, by=Act("ann", "key.revoke"))
        await store.add_act(Act("eve", "login"), count=0)
        acts = await store.list_acts(before=None, limit=9)
        assert [(act.who, act.action, act.count) for act in acts] == [
            ("eve", "login", 0), ("ann", "key.revoke", 1), ("ann", "key.create", 1), ("bob", "feedback.undo", 1),
            ("bob", "feedback.give", 1), ("ann", "purge", 2),
        ]  # fmt: skip
        assert acts[-1].what == {"all": True}
        assert {act.at for act in acts} == {5000.0}
        assert await store.list_acts(before=acts[1].id, limit=1) == [acts[2]]

    async def test_what_the_service_or_a_client_does_is_not(self, store: SqlEntryStore) -> None:
        await fill(store, "cat")
        await store.purge(PurgePredicate(everything=True))
        await store.add_feedback(HIT, "wrong", client="web")
        assert await store.list_acts(before=None, limit=9) == []
