"""Every question that changes nothing, each one statement (so that what it sees fits together)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cache_service.errors import StoreCorrupt
from cache_service.store.base import VectorRow
from cache_service.store.entry import Entry, Output
from cache_service.store.prepared import Prepared
from cache_service.store.removal import paged
from cache_service.store.rows import Row, entry_from, output_from, vector_from
from cache_service.store.tables import LIVE, entries, outputs, vectors

BLOBS_PER_PAGE = 1000


@dataclass(slots=True)
class Found:
    """Entries by id, and the ids of those that are not what was written."""

    entries: dict[int, Entry] = field(default_factory=dict)
    corrupt: list[int] = field(default_factory=list)


_OUTPUT_COLUMNS = [column.label(f"output_{column.name}") for column in outputs.c]
_VECTOR_COLUMNS = [column.label(f"vector_{column.name}") for column in vectors.c]
_MODEL = sa.bindparam("model_id", type_=sa.Text)
_ENTRIES = (
    sa.select(entries, *_OUTPUT_COLUMNS, *_VECTOR_COLUMNS)
    .select_from(
        entries.outerjoin(outputs, outputs.c.entry_id == entries.c.id).outerjoin(
            vectors, sa.and_(vectors.c.entry_id == entries.c.id, vectors.c.model_id == _MODEL)
        )
    )
    .where(entries.c.state == LIVE)
    .order_by(entries.c.id, outputs.c.position)
)
_BY_KEY = Prepared.same(_ENTRIES.where(entries.c.exact_key == sa.bindparam("exact_key")))
_IDS_BY_KEY = Prepared.same(sa.select(entries.c.id).where(entries.c.exact_key == sa.bindparam("exact_key")))
_BY_IDS = _ENTRIES.where(entries.c.id.in_(sa.bindparam("ids", expanding=True)))
_VECTORS = (
    sa.select(vectors, entries.c.partition)
    .join(entries, entries.c.id == vectors.c.entry_id)
    .where(entries.c.state == LIVE, vectors.c.model_id == _MODEL)
    .order_by(vectors.c.entry_id)
)


async def by_key(connection: AsyncConnection, exact_key: str, model_id: str) -> Found:
    """The live entry with that key. Raises StoreCorrupt if the database's index leads to another's row."""
    found = _found(await _BY_KEY.all(connection, {"exact_key": exact_key, "model_id": model_id}))
    if any(entry.exact_key != exact_key for entry in found.entries.values()):
        raise StoreCorrupt("the index of exact keys leads to another entry; `check` tells more")
    return found


async def is_absent(connection: AsyncConnection, exact_key: str) -> bool:
    """Whether the database's index has no entry with that key, live or not: 0.02 ms."""
    return not await _IDS_BY_KEY.all(connection, {"exact_key": exact_key})


async def by_ids(connection: AsyncConnection, entry_ids: Collection[int], model_id: str) -> Found:
    """The live ones of the entries."""
    found = Found()
    for ids in paged(entry_ids):
        page = _found((await connection.execute(_BY_IDS, {"ids": ids, "model_id": model_id})).all())
        found.entries.update(page.entries)
        found.corrupt.extend(page.corrupt)
    return found


async def vectors_of(connection: AsyncConnection, entry_ids: Collection[int], model_id: str) -> list[VectorRow]:
    """The vectors of the live ones of the entries."""
    found: list[VectorRow] = []
    for ids in paged(entry_ids):
        statement = _VECTORS.where(vectors.c.entry_id.in_(ids))
        found.extend(_intact((await connection.execute(statement, {"model_id": model_id})).all()))
    return found


async def scan_vectors(connection: AsyncConnection, model_id: str, after_id: int, limit: int) -> list[VectorRow]:
    """A page of all of them, by entry id; damaged ones are passed over, so the page is empty only at the end."""
    while True:
        statement = _VECTORS.where(vectors.c.entry_id > after_id).limit(limit)
        rows = (await connection.execute(statement, {"model_id": model_id})).all()
        intact = _intact(rows)
        if intact or not rows:
            return intact
        after_id = rows[-1].entry_id


async def without_vector(
    connection: AsyncConnection, model_id: str, after_id: int, limit: int
) -> list[tuple[int, str]]:
    """A page of live entries that can be found by meaning, but not by that model."""
    has = sa.exists().where(vectors.c.entry_id == entries.c.id, vectors.c.model_id == model_id)
    statement = sa.select(entries.c.id, entries.c.prompt).where(
        entries.c.id > after_id, entries.c.state == LIVE, entries.c.exact_only.is_(False), ~has
    )
    found = await connection.execute(statement.order_by(entries.c.id).limit(limit))
    return [(entry_id, prompt) for entry_id, prompt in found]


async def readable_blob(connection: AsyncConnection, sha256: str, namespace: str, now: float) -> Output | None:
    """An output with that blob, of an entry of the namespace that is live and not expired."""
    statement = (
        sa.select(outputs)
        .join(entries, entries.c.id == outputs.c.entry_id)
        .where(
            outputs.c.blob == sha256,
            entries.c.namespace == namespace,
            entries.c.state == LIVE,
            sa.or_(entries.c.expires_at.is_(None), entries.c.expires_at > now),
        )
    )
    for row in await connection.execute(statement):
        try:
            return output_from(row)
        except StoreCorrupt:
            continue  # another output may hold the same blob
    return None


async def any_output(connection: AsyncConnection, sha256: str) -> Output | None:
    """An output with that blob, whoever's it is."""
    for row in await connection.execute(sa.select(outputs).where(outputs.c.blob == sha256).limit(10)):
        try:
            return output_from(row)
        except StoreCorrupt:
            continue
    return None


async def holding(connection: AsyncConnection, blob: str) -> list[int]:
    """Ids of the live entries with an output that refers to the blob."""
    statement = sa.select(entries.c.id).distinct().join(outputs, outputs.c.entry_id == entries.c.id)
    found = await connection.execute(statement.where(outputs.c.blob == blob, entries.c.state == LIVE))
    return sorted(found.scalars())


async def blobs_after(connection: AsyncConnection, after: str) -> Sequence[str]:
    """A page of the digests that outputs refer to, in order, each once."""
    statement = (
        sa.select(outputs.c.blob)
        .distinct()
        .where(outputs.c.blob > after)
        .order_by(outputs.c.blob)
        .limit(BLOBS_PER_PAGE)
    )
    return (await connection.execute(statement)).scalars().all()


async def totals(connection: AsyncConnection) -> dict[str, int]:
    """Entries, outputs, and the bytes of the blobs they refer to, each blob counted once."""
    blobs = sa.select(outputs.c.blob, sa.func.max(outputs.c.size).label("size")).group_by(outputs.c.blob)
    held = blobs.where(outputs.c.blob.is_not(None)).subquery()
    statement = sa.select(
        sa.select(sa.func.count()).select_from(entries).scalar_subquery().label("entries"),
        sa.select(sa.func.count()).select_from(outputs).scalar_subquery().label("outputs"),
        sa.select(sa.func.coalesce(sa.func.sum(held.c.size), 0)).scalar_subquery().label("blob_bytes"),
    )
    row = (await connection.execute(statement)).one()
    return {"entries": int(row.entries), "outputs": int(row.outputs), "blob_bytes": int(row.blob_bytes)}


def _found(rows: Iterable[Row]) -> Found:
    """Joined rows (one for each output, in order) as entries."""
    found = Found()
    for entry_id, group in groupby(rows, key=lambda row: row.id):
        joined = list(group)
        try:
            found.entries[entry_id] = _entry(joined)
        except StoreCorrupt:
            found.corrupt.append(entry_id)
    return found


def _entry(joined: list[Row]) -> Entry:
    first = joined[0]
    made = [output_from(_part(row, "output_", outputs)) for row in joined if row.output_id is not None]
    if [row.output_position for row in joined] != list(range(len(made))):
        raise StoreCorrupt(f"outputs of entry {first.id} are missing")
    vector = None
    if first.vector_entry_id is not None:
        vector = _part(first, "vector_", vectors)
        vector_from(vector)  # raises if it isn't what was written
    return entry_from(first, tuple(made), vector)


def _part(row: Row, prefix: str, table: sa.Table) -> Any:
    """The columns of one of the joined tables under their own names."""
    return SimpleNamespace(**{column.name: getattr(row, prefix + column.name) for column in table.c})


def _intact(rows: Iterable[Row]) -> list[VectorRow]:
    intact = []
    for row in rows:
        try:
            intact.append(VectorRow(row.entry_id, row.partition, vector_from(row)))
        except StoreCorrupt:
            continue  # `check` finds it; without it the entry is found exactly only
    return intact
