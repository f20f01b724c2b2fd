"""`check` finds what is broken on purpose, mends it, and then finds nothing; what is damaged is never served."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator

import pytest

from cache_service.store.base import Problem, Stored
from cache_service.store.entry import PurgePredicate, Similar
from cache_service.store.records import EntryFilter, Word
from cache_service.store.sql import SqlEntryStore, open_store
from tests.fakes.databases import MakeDatabase
from tests.fakes.entries import MODEL, digest, new_entry, output, stored_vector


class Broken:
    """A store with three entries, and a way past it into the database."""

    def __init__(self, url: str, store: SqlEntryStore) -> None:
        self.store = store
        self.path = url.removeprefix("sqlite:///")

    def run(self, statement: str, *parameters: object) -> None:
        connection = sqlite3.connect(self.path)
        with connection:
            connection.execute(statement, parameters)
        connection.close()

    def learnt(self) -> list[int]:
        """The entries whose words are in the index."""
        connection = sqlite3.connect(self.path)
        ids = [entry_id for (entry_id,) in connection.execute("SELECT id FROM entry_words_docsize ORDER BY id")]
        connection.close()
        return ids

    async def search(self, word: str) -> list[str]:
        page = await self.store.list_entries(EntryFilter(text=(Word(word),)), after=None, limit=9)
        return [entry.prompt for entry in page.entries]

    async def problems(self, *, fix: bool = False) -> list[Problem]:
        return await self.store.check(fix=fix)


@pytest.fixture
async def broken(make_sqlite: MakeDatabase) -> AsyncIterator[Broken]:
    url = make_sqlite()
    store = await open_store(url)
    for name in ("cat", "dog", "sun"):
        await store.put(new_entry(name, tags=frozenset({"t"}), outputs=(output(name), output(f"{name} 2"))), "append")
    yield Broken(url, store)
    await store.aclose()


DAMAGE = {
    "DELETE FROM outputs WHERE entry_id = 2": {"entry-without-outputs"},
    "DELETE FROM entries WHERE id = 2": {"output-without-entry", "vector-without-entry", "tag-without-entry"},
    "UPDATE vectors SET vector = substr(vector, 1, 8) WHERE entry_id = 2": {"vector-length"},
    "UPDATE vectors SET vector = zeroblob(12) WHERE entry_id = 2": {"vector-damaged"},
    "UPDATE vectors SET analysis = '{' WHERE entry_id = 2": {"vector-damaged"},
    "UPDATE entries SET envelope = '{\"a\":' WHERE id = 2": {"entry-damaged"},
    "UPDATE entries SET prompt = 'other' WHERE id = 2": {"entry-damaged"},
    "UPDATE entries SET namespace = 'other' WHERE id = 2": {"entry-damaged"},
    "UPDATE entries SET prompt = CAST(X'FF41' AS TEXT) WHERE id = 2": {"entry-damaged"},
    "UPDATE outputs SET item = '[]' WHERE id = 3": {"entry-damaged"},
    "UPDATE outputs SET entry_id = 1, position = 9 WHERE id = 3": {"entry-damaged"},
    "UPDATE counter SET number = 1": {"counter-behind"},
    "DELETE FROM changes WHERE number = 2": {"feed-gap"},
    "INSERT INTO purges VALUES (3, '{}', 0, 0)": {"purge-damaged"},
}


@pytest.mark.parametrize("statement", DAMAGE)
async def test_damage_is_found_and_mended(broken: Broken, statement: str) -> None:
    assert await broken.problems() == []
    broken.run(statement)
    found = await broken.problems()
    assert {problem.kind for problem in found} == DAMAGE[statement]
    assert not any(problem.fixed for problem in found)
    mended = await broken.problems(fix=True)
    assert {problem.kind for problem in mended} == DAMAGE[statement]
    assert all(problem.fixed for problem in mended)
    assert await broken.problems() == []
    numbers = [change.number for change in await broken.store.changes(after=0, limit=100)]
    position = await broken.store.position()
    assert numbers == list(range(position.oldest, position.number + 1))
    assert isinstance(await broken.store.put(new_entry("new", began=position.number), "append"), Stored)


async def test_a_vector_that_is_not_of_unit_length_is_found(broken: Broken) -> None:
    double = stored_vector(1, 0, 0)
    double.vector[:] *= 2
    await broken.store.set_vectors({2: double})
    assert [problem.kind for problem in await broken.problems(fix=True)] == ["vector-not-unit"]
    assert await broken.problems() == []
    assert await broken.store.vectors([2], embedding_model=MODEL) == []


async def test_a_hole_in_the_feed_makes_followers_rebuild(broken: Broken) -> None:
    before = await broken.store.position()
    broken.run("DELETE FROM changes WHERE number = 2")
    await broken.problems(fix=True)
    assert (await broken.store.position()).epoch != before.epoch


@pytest.mark.parametrize("statement", [statement for statement, kinds in DAMAGE.items() if kinds == {"entry-damaged"}])
async def test_a_damaged_entry_is_not_served_and_leaves_service(broken: Broken, statement: str) -> None:
    broken.run(statement)
    assert await broken.store.find(digest("dog"), embedding_model=MODEL) is None
    assert await broken.store.fetch([2], embedding_model=MODEL) == {}
    assert (await broken.store.changes(after=3, limit=9))[0].entry_id in {1, 2}
    generated_anew = await broken.store.put(new_entry("dog", outputs=(output("new"),)), "append")
    assert isinstance(generated_anew, Stored)
    assert await broken.store.find(digest("dog"), embedding_model=MODEL) == generated_anew.entry


async def test_a_blob_whose_row_is_damaged_is_not_readable(broken: Broken) -> None:
    broken.run("UPDATE outputs SET media_type = 'text/html' WHERE id = 3")
    assert await broken.store.readable_blob(digest("dog"), namespace="default", now=0) is None


async def test_a_purge_takes_damaged_vectors_too(broken: Broken) -> None:
    broken.run("UPDATE vectors SET vector = X'00' WHERE entry_id = 2")
    predicate = PurgePredicate(similar=Similar(MODEL, stored_vector(0, 0, 1).vector, 0.9))
    assert (await broken.store.purge(predicate)).count == 1


async def test_an_index_of_words_that_lost_some_is_made_anew(broken: Broken) -> None:
    assert await broken.search("cat") == ["cat"]
    broken.run("INSERT INTO entry_words(entry_words, rowid, prompt) VALUES ('delete', 1, 'cat')")
    assert [problem.kind for problem in await broken.problems()] == ["words-differ"]
    assert [(problem.kind, problem.fixed) for problem in await broken.problems(fix=True)] == [("words-differ", True)]
    assert await broken.problems() == []
    assert await broken.search("cat") == ["cat"]


async def test_a_damaged_index_of_words_is_made_anew(broken: Broken) -> None:
    """Else nothing that it knows could be deleted any more. What is new is stored meanwhile."""
    assert await broken.search("cat") == ["cat"]
    broken.run("UPDATE entry_words_data SET block = x'00' WHERE id > 10")
    assert isinstance(await broken.store.put(new_entry("sea"), "append"), Stored)
    assert [(problem.kind, problem.fixed) for problem in await broken.problems(fix=True)] == [("words-damaged", True)]
    assert await broken.search("cat") == ["cat"]
    assert await broken.search("sea") == ["sea"]


async def test_prompts_that_nobody_searched_for_yet_are_no_damage(broken: Broken) -> None:
    """They are learnt when all else is mended."""
    assert await broken.problems() == []
    assert broken.learnt() == []
    assert await broken.problems(fix=True) == []
    assert broken.learnt() == [1, 2, 3]
