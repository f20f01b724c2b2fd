"""Looking for a key on the loop: at once where that takes microseconds, in a thread where it doesn't, and never another answer."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
import sqlalchemy as sa

from cache_service.store import reading
from cache_service.store.sql import open_store
from cache_service.store.sqlite import LEFT_TO_THREADS, SLOW, SqliteHere, SqliteThreads
from tests.fakes.databases import MakeDatabase
from tests.fakes.entries import MODEL, digest, new_entry

absent = partial(reading.is_absent, exact_key=digest("nobody's"))


class Clock:
    """Seconds that pass with every look at it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.step = 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def here(make_sqlite: MakeDatabase, clock: Clock) -> Iterator[SqliteHere]:
    opened = SqliteHere(sa.make_url(make_sqlite()), monotonic=clock)
    yield opened
    opened.close()


async def test_a_key_that_is_not_there_needs_no_thread(
    make_sqlite: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is there is read in one, with all that belongs to it."""
    store = await open_store(make_sqlite())
    await store.put(new_entry("there"), "append")
    asked = []
    run = SqliteThreads.run
    monkeypatch.setattr(SqliteThreads, "run", lambda threads, do: asked.append(do) or run(threads, do))
    assert await store.find(digest("not there"), embedding_model=MODEL) is None
    assert asked == []
    assert await store.find(digest("there"), embedding_model=MODEL) is not None
    assert len(asked) == 1
    await store.aclose()


async def test_what_another_node_stored_is_seen_at_once(make_sqlite: MakeDatabase) -> None:
    """The connection keeps no old view of the database."""
    url = make_sqlite()
    store, other = await open_store(url), await open_store(url)
    assert await store.find(digest("new"), embedding_model=MODEL) is None
    await other.put(new_entry("new"), "append")
    assert await store.find(digest("new"), embedding_model=MODEL) is not None
    for each in (store, other):
        await each.aclose()


def test_after_a_slow_look_the_next_ones_are_left_to_threads(here: SqliteHere, clock: Clock) -> None:
    """What was slow is an answer all the same. One hiccup costs one look; where the disk stays slow, a hundred are left each time."""
    assert here.read(absent) is True
    clock.step = SLOW * 1.1
    assert here.read(absent) is True
    assert [left_to_threads(here) for _ in range(9)] == [1, 2, 4, 8, 16, 32, 64, LEFT_TO_THREADS, LEFT_TO_THREADS]
    clock.step = 0.0
    left_to_threads(here)
    clock.step = SLOW * 1.1
    assert here.read(absent) is True
    assert left_to_threads(here) == 1


def left_to_threads(here: SqliteHere) -> int:
    """How many looks are, up to the next that isn't."""
    looks = 0
    while here.read(absent) is None:
        looks += 1
    return looks


def test_a_look_that_fails_is_left_to_threads(here: SqliteHere) -> None:
    """They say what is wrong."""

    def failing(connection: sa.ext.asyncio.AsyncConnection) -> object:
        return connection.exec_driver_sql("SELECT * FROM nowhere")

    assert here.read(failing) is None
    assert here.read(absent) is None


def test_nothing_is_opened_again_after_the_end(here: SqliteHere) -> None:
    """A database that was closed may be moved."""
    here.close()
    assert here.read(absent) is None
