"""Files what a generation produced, in one transaction whose order matters.

Rows first, then the counter, then the purges (nobody can file one while the counter is ours), then the change and the
commit. A new entry touches no row that others can see, so it takes the counter last and stores run side by side until
then; going on with an entry that is there already locks the counter first (`feed` says why).
"""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from cache_service.store import feed, keeping, reading, removal
from cache_service.store.base import ChangeKind, OnConflict, RefusedByPurge, Stored
from cache_service.store.engine import Abandoned
from cache_service.store.entry import Entry, NewEntry, StoredVector
from cache_service.store.eviction import Ranking
from cache_service.store.rows import entry_values, output_values, vector_values
from cache_service.store.tables import LIVE, entries, outputs, tags, vectors


async def put(
    connection: AsyncConnection, new: NewEntry, on_conflict: OnConflict, ranking: Ranking, *, at: float
) -> Stored | None:
    """Stores a new entry, or goes on with the one that has its key; None if that one is gone meanwhile: try again.

    Raises Abandoned(RefusedByPurge).
    """
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = (
        insert(entries)
        .values(entry_values(new))
        .on_conflict_do_nothing(index_elements=[entries.c.exact_key])
        .returning(entries.c.id)
    )
    entry_id = (await connection.execute(statement)).scalar_one_or_none()
    if entry_id is None:
        return await _go_on(connection, new, on_conflict, ranking, at=at)
    await _insert_parts(connection, entry_id, new)
    await keeping.begin(connection, entry_id, new, ranking)
    number = await _number(connection, ChangeKind.STORED, entry_id, new, at=at)
    return Stored(_as_stored(entry_id, new), number)


async def set_vectors(connection: AsyncConnection, stored: Mapping[int, StoredVector], *, at: float) -> int:
    """Puts vectors in place of those that the entries have of the same model; returns how many of the entries exist."""
    await feed.lock(connection)
    found = await connection.execute(
        sa.select(entries.c.id).where(entries.c.id.in_(list(stored)), entries.c.state == LIVE)
    )
    ids = sorted(found.scalars())
    for entry_id in ids:
        vector = stored[entry_id]
        await connection.execute(
            sa.delete(vectors).where(vectors.c.entry_id == entry_id, vectors.c.model_id == vector.model_id)
        )
        await connection.execute(sa.insert(vectors), vector_values(entry_id, vector))
    if ids:
        await connection.execute(sa.update(entries).where(entries.c.id.in_(ids)).values(exact_only=False))
        taken = await feed.take(connection, len(ids))
        await feed.report(connection, ChangeKind.RE_EMBEDDED, ids, taken.first, at=at)
    return len(ids)


async def _go_on(
    connection: AsyncConnection, new: NewEntry, on_conflict: OnConflict, ranking: Ranking, *, at: float
) -> Stored | None:
    """The key is there already. An entry that can't be served (quarantined, damaged) is replaced in any case."""
    number = await feed.lock(connection)
    query = sa.select(entries.c.id).where(entries.c.exact_key == new.exact_key)
    entry_id = (await connection.execute(query)).scalar_one_or_none()
    if entry_id is None:
        return None
    model_id = "" if new.vector is None else new.vector.model_id
    entry = (await reading.by_ids(connection, [entry_id], model_id)).entries.get(entry_id)
    if entry is not None and on_conflict == "keep":
        return Stored(entry, number)
    if entry is not None and on_conflict == "append":
        await _append_parts(connection, entry, new)
        await keeping.grow(connection, entry_id, new, ranking)
        number = await _number(connection, ChangeKind.OUTPUTS_ADDED, entry_id, new, at=at)
        grown = await reading.by_ids(connection, [entry_id], model_id)
        return Stored(grown.entries[entry_id], number)
    query = sa.select(outputs.c.blob).where(outputs.c.entry_id == entry_id, outputs.c.blob.is_not(None))
    before = set((await connection.execute(query)).scalars())
    await connection.execute(sa.update(entries).where(entries.c.id == entry_id).values(entry_values(new)))
    for table in (outputs, vectors, tags):
        await connection.execute(sa.delete(table).where(table.c.entry_id == entry_id))
    await _insert_parts(connection, entry_id, new)
    await keeping.renew(connection, entry_id, new, ranking)
    orphaned = tuple(sorted(await removal.unreferenced(connection, before)))
    number = await _number(connection, ChangeKind.REPLACED, entry_id, new, at=at)
    return Stored(_as_stored(entry_id, new), number, orphaned)


async def _number(connection: AsyncConnection, kind: ChangeKind, entry_id: int, new: NewEntry, *, at: float) -> int:
    """Numbers the change, unless a purge forbids it: then nothing of the transaction remains."""
    taken = await feed.take(connection, 1)
    refusing = await feed.refusing_purge(connection, new, taken.trimmed)
    if refusing is not None:
        raise Abandoned(RefusedByPurge(refusing))
    await feed.report(connection, kind, [entry_id], taken.first, at=at)
    return taken.last


async def _insert_parts(connection: AsyncConnection, entry_id: int, new: NewEntry) -> None:
    rows = [output_values(entry_id, position, output) for position, output in enumerate(new.outputs)]
    if rows:
        await connection.execute(sa.insert(outputs), rows)
    if new.vector is not None:
        await connection.execute(sa.insert(vectors), vector_values(entry_id, new.vector))
    if new.tags:
        await connection.execute(sa.insert(tags), [{"entry_id": entry_id, "tag": tag} for tag in sorted(new.tags)])


async def _append_parts(connection: AsyncConnection, entry: Entry, new: NewEntry) -> None:
    """Adds outputs behind those that are there, tags to its tags, and the vector where it has none of that model.

    The entry's age stays that of its oldest output.
    """
    rows = [
        output_values(entry.id, position, output) for position, output in enumerate(new.outputs, len(entry.outputs))
    ]
    if rows:
        await connection.execute(sa.insert(outputs), rows)
    held = set((await connection.execute(sa.select(tags.c.tag).where(tags.c.entry_id == entry.id))).scalars())
    added = [{"entry_id": entry.id, "tag": tag} for tag in sorted(new.tags - held)]
    if added:
        await connection.execute(sa.insert(tags), added)
    if new.vector is not None and entry.analysis_version is None:
        await connection.execute(sa.insert(vectors), vector_values(entry.id, new.vector))
        await connection.execute(sa.update(entries).where(entries.c.id == entry.id).values(exact_only=False))


def _as_stored(entry_id: int, new: NewEntry) -> Entry:
    """What reading the entry would give."""
    return Entry(
        id=entry_id,
        exact_key=new.exact_key,
        partition=new.partition,
        namespace=new.namespace,
        operation=new.operation,
        model=new.model,
        prompt=new.prompt,
        request=new.request,
        envelope=new.envelope,
        made=new.made,
        outputs=new.outputs,
        created_at=new.created_at,
        expires_at=new.expires_at,
        exact_only=new.vector is None,
        analysis_version=None if new.vector is None else new.vector.analysis_version,
        analysis=None if new.vector is None else new.vector.analysis,
    )
