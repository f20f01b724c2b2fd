"""Prompts by words, through the database's own full-text index: FTS5 on SQLite, `tsvector` on PostgreSQL.

SQLite's takes as long as all other rows of a store together, so it learns prompts later, many at once: behind every so many stores, and
before somebody searches. It learns them in the order of their ids and in transactions, so what it hasn't learnt is what stands behind the last
one it knows; nothing else says how far it is. What it knows is forgotten by triggers, in the transaction that changes the entry. It is derived,
and can be made anew from the entries.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cache_service.errors import StoreError
from cache_service.store.base import Problem
from cache_service.store.engine import Database
from cache_service.store.records import Word
from cache_service.store.tables import WORDS, entries, words_of

AT_ONCE = 512
"""Prompts learnt in one transaction, 5 to 15 ms; and stores after which they are. Of 64 each takes twice as long."""

_ANY_ID = 2**63 - 1

fts = sa.table(WORDS, sa.column("rowid", sa.Integer), sa.column(WORDS))
_learnt = sa.table(f"{WORDS}_docsize", sa.column("id", sa.Integer))  # FTS5's own table, a row for each prompt
_LAST_LEARNT = sa.select(sa.func.coalesce(sa.func.max(_learnt.c.id), 0)).scalar_subquery()
_LEARN = (
    f"INSERT INTO {WORDS}(rowid, prompt) SELECT id, prompt FROM {WORDS}_source "  # noqa: S608  names of our own
    f"WHERE id > (SELECT coalesce(max(id), 0) FROM {WORDS}_docsize) AND id <= ? ORDER BY id LIMIT ?"
)
_SIMPLE: sa.ColumnElement[Any] = sa.literal_column("'simple'::regconfig")


def matching(asked: sa.ColumnElement[str], *, sqlite: bool) -> tuple[sa.ColumnElement[int], sa.ColumnElement[Any]]:
    """Where the ids are, and the condition. asked: of `query`. Of SQLite's index only itself is read."""
    if sqlite:
        return fts.c.rowid, fts.c[WORDS].op("MATCH")(asked)
    return entries.c.id, words_of(entries.c.prompt).op("@@")(sa.func.to_tsquery(_SIMPLE, asked))


def query(words: Sequence[Word], *, sqlite: bool) -> str:
    """The words in the database's own language; nothing in a word is an operator."""
    return fts_query(words) if sqlite else ts_query(words)


def fts_query(words: Sequence[Word]) -> str:
    """FTS5's query: each word as a string, which the index's own tokenizer takes apart."""
    return " ".join('"{}"{}'.format(word.text.replace('"', '""'), "*" if word.prefix else "") for word in words)


def ts_query(words: Sequence[Word]) -> str:
    """PostgreSQL's query: the same, with its own quotes."""
    quoted = (word.text.replace("\\", "\\\\").replace("'", "''") for word in words)
    return " & ".join(f"'{text}'{':*' if word.prefix else ''}" for text, word in zip(quoted, words, strict=True))


async def newest_unlearnt(connection: AsyncConnection) -> int | None:
    """The last entry, where SQLite's index doesn't know it yet."""
    if connection.dialect.name != "sqlite":
        return None
    newest: int | None = (await connection.execute(sa.select(sa.func.max(entries.c.id)))).scalar_one()
    last_learnt = (await connection.execute(sa.select(_LAST_LEARNT))).scalar_one()
    return newest if newest is not None and newest > last_learnt else None


async def learn(connection: AsyncConnection, *, up_to: int, limit: int) -> int:
    """SQLite's index learns the next prompts, of entries up to that id; returns how many, `limit` at most (-1: all)."""
    return (await connection.exec_driver_sql(_LEARN, (up_to, limit))).rowcount


async def differs(connection: AsyncConnection) -> bool:
    """Whether SQLite's index holds another number of prompts than there are entries up to the last that it knows."""
    if connection.dialect.name != "sqlite":
        return False
    held = sa.select(sa.func.count()).select_from(entries).where(entries.c.id <= _LAST_LEARNT)
    indexed = sa.select(sa.func.count()).select_from(_learnt)
    both = await connection.execute(sa.select(held.scalar_subquery(), indexed.scalar_subquery()))
    there, known = both.one()
    return bool(there != known)


async def mend(connection: AsyncConnection) -> list[Problem]:
    """Lets SQLite's index learn what it doesn't know yet, runs its check, and makes it anew where that fails."""
    if connection.dialect.name != "sqlite":
        return []
    try:
        await learn(connection, up_to=_ANY_ID, limit=-1)
        await connection.exec_driver_sql("INSERT INTO entry_words(entry_words, rank) VALUES ('integrity-check', 1)")
    except sa.exc.DatabaseError:
        await connection.exec_driver_sql("INSERT INTO entry_words(entry_words) VALUES ('rebuild')")
        return [Problem("words-damaged", "the index of words isn't that of the prompts", fixed=True)]
    return []


class Learning:
    """When SQLite's index of a database learns; on PostgreSQL there is nothing to do."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._unlearnt = 0
        self._learning: asyncio.Task[None] | None = None

    def stored(self, count: int) -> None:
        """So many entries are new. Behind every `AT_ONCE` of them they are learnt; nobody waits for it."""
        self._unlearnt += count
        if self._database.is_sqlite and self._unlearnt >= AT_ONCE and self._learning is None:
            self._unlearnt = 0
            self._learning = asyncio.create_task(self.catch_up())
            self._learning.add_done_callback(self._learnt)

    async def catch_up(self) -> None:
        """What was stored until now can be found by its words, unless the database takes no writes: then all but the newest can."""
        with contextlib.suppress(StoreError):
            newest = await self._database.look(newest_unlearnt)
            while newest is not None:
                learnt = await self._database.write(partial(learn, up_to=newest, limit=AT_ONCE))
                if learnt < AT_ONCE:
                    return

    async def aclose(self) -> None:
        """Waits for what is being learnt; idempotent."""
        while self._learning is not None:
            await self._learning

    def _learnt(self, _task: asyncio.Task[None]) -> None:
        self._learning = None
        self.stored(0)  # meanwhile as many may have come again
