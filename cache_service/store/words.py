"""Prompts by words, through the database's own full-text index: FTS5 on SQLite, `tsvector` on PostgreSQL.

SQLite's is kept by triggers in the transaction that changes the entry; it is derived, and can be made anew from the entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cache_service.store.base import Problem
from cache_service.store.records import Word
from cache_service.store.tables import WORDS, entries, words_of

fts = sa.table(WORDS, sa.column("rowid", sa.Integer), sa.column(WORDS))
_docsize = sa.table(f"{WORDS}_docsize", sa.column("id", sa.Integer))
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


async def differs(connection: AsyncConnection) -> bool:
    """Whether SQLite's index holds another number of prompts than there are entries."""
    if connection.dialect.name != "sqlite":
        return False
    counts = [sa.select(sa.func.count()).select_from(table).scalar_subquery() for table in (entries, _docsize)]
    held, indexed = (await connection.execute(sa.select(*counts))).one()
    return bool(held != indexed)


async def mend(connection: AsyncConnection) -> list[Problem]:
    """Runs SQLite's check of the index, and makes it anew where that fails."""
    if connection.dialect.name != "sqlite":
        return []
    try:
        await connection.exec_driver_sql("INSERT INTO entry_words(entry_words, rank) VALUES ('integrity-check', 1)")
    except sa.exc.DatabaseError:
        await connection.exec_driver_sql("INSERT INTO entry_words(entry_words) VALUES ('rebuild')")
        return [Problem("words-damaged", "the index of words isn't that of the prompts", fixed=True)]
    return []
