"""Files what generations produced, several in one transaction whose order matters.

Payments first, then rows, then the counter, then the purges (nobody can file one while the counter is ours), then the changes and the
commit. New entries touch no row that others can see, so they take the counter last and stores of several nodes run side by side until
then; going on with an entry that is there already locks the counter first (`feed` says why). New entries are inserted in the order of their
keys, so that two transactions can't wait for each other in a circle.

Statements are made once (`prepared`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cache_service.store import feed, keeping, ledger, reading, removal
from cache_service.store.base import ChangeKind, OnConflict, RefusedByPurge, Stored
from cache_service.store.engine import Abandoned
from cache_service.store.entry import Entry, NewEntry, Payment, StoredVector
from cache_service.store.eviction import Ranking
from cache_service.store.prepared import INSERTS, Prepared
from cache_service.store.rows import entry_values, output_values, vector_values
from cache_service.store.tables import LIVE, entries, outputs, tags, vectors


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """What one `put` asks for."""

    new: NewEntry
    on_conflict: OnConflict
    payment: Payment | None = None


class OneByOne(Exception):
    """Several can't be stored in one transaction, and nothing of them was: each on its own may be."""


def _inserting(insert: Any) -> Any:
    statement = insert(entries).on_conflict_do_nothing(index_elements=[entries.c.exact_key])
    return statement.returning(entries.c.id, entries.c.exact_key)


_NEW_ENTRIES = Prepared(**{name: _inserting(insert) for name, insert in INSERTS.items()})
_NEW_OUTPUTS, _NEW_VECTORS, _NEW_TAGS = (Prepared.same(sa.insert(table)) for table in (outputs, vectors, tags))


async def put(
    connection: AsyncConnection, wanted: Sequence[Wanted], ranking: Ranking, *, at: float
) -> list[Stored | RefusedByPurge]:
    """Stores new entries, or goes on with those that have their keys; the outcomes in order.

    Raises OneByOne where one of several must be refused, or went away meanwhile. Of a single one Abandoned says the same, with what
    `put` returns: a RefusedByPurge, or None for another try.
    """
    await ledger.pay(connection, [one.payment for one in wanted if one.payment is not None])
    ids = await _insert_new(connection, wanted)
    added = [(ids[place], wanted[place].new) for place in sorted(ids)]
    await _insert_parts(connection, added)
    await keeping.begin(connection, added, ranking)
    outcomes: dict[int, Stored | RefusedByPurge] = {}
    rest = [place for place in range(len(wanted)) if place not in ids]
    try:
        for place in rest:
            outcomes[place] = await _go_on(connection, wanted[place], ranking, at=at)
        if added:
            first = await _number(connection, ChangeKind.STORED, added, at=at)
            for number, place in enumerate(sorted(ids), first):
                outcomes[place] = Stored(_as_stored(ids[place], wanted[place].new), number, fresh=True)
    except Abandoned as abandoned:
        if len(wanted) == 1:
            raise
        raise OneByOne from abandoned
    return [outcomes[place] for place in range(len(wanted))]


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


async def _insert_new(connection: AsyncConnection, wanted: Sequence[Wanted]) -> dict[int, int]:
    """The ids of those whose key wasn't there yet, by their place; of equal keys the first."""
    places: dict[str, int] = {}
    for place, one in enumerate(wanted):
        places.setdefault(one.new.exact_key, place)
    rows = [entry_values(wanted[places[key]].new) for key in sorted(places)]
    inserted = await _NEW_ENTRIES.all(connection, *rows)
    return {places[key]: entry_id for entry_id, key in inserted}


async def _go_on(connection: AsyncConnection, wanted: Wanted, ranking: Ranking, *, at: float) -> Stored:
    """The key is there already. An entry that can't be served (quarantined, damaged) is replaced in any case."""
    new, on_conflict = wanted.new, wanted.on_conflict
    number = await feed.lock(connection)
    query = sa.select(entries.c.id).where(entries.c.exact_key == new.exact_key)
    entry_id = (await connection.execute(query)).scalar_one_or_none()
    if entry_id is None:
        raise Abandoned(None)  # its payment is filed with the entry, or not at all
    model_id = "" if new.vector is None else new.vector.model_id
    entry = (await reading.by_ids(connection, [entry_id], model_id)).entries.get(entry_id)
    if entry is not None and on_conflict == "keep":
        return Stored(entry, number)
    if entry is not None and on_conflict == "append":
        await _append_parts(connection, entry, new)
        await keeping.grow(connection, entry_id, new, ranking)
        number = await _number(connection, ChangeKind.OUTPUTS_ADDED, [(entry_id, new)], at=at)
        grown = await reading.by_ids(connection, [entry_id], model_id)
        return Stored(grown.entries[entry_id], number)
    query = sa.select(outputs.c.blob).where(outputs.c.entry_id == entry_id, outputs.c.blob.is_not(None))
    before = set((await connection.execute(query)).scalars())
    await connection.execute(sa.update(entries).where(entries.c.id == entry_id).values(entry_values(new)))
    for table in (outputs, vectors, tags):
        await connection.execute(sa.delete(table).where(table.c.entry_id == entry_id))
    await _insert_parts(connection, [(entry_id, new)])
    await keeping.renew(connection, entry_id, new, ranking)
    orphaned = tuple(sorted(await removal.unreferenced(connection, before)))
    number = await _number(connection, ChangeKind.REPLACED, [(entry_id, new)], at=at)
    return Stored(_as_stored(entry_id, new), number, orphaned)


async def _number(
    connection: AsyncConnection, kind: ChangeKind, changed: Sequence[tuple[int, NewEntry]], *, at: float
) -> int:
    """Numbers the changes and gives the first number, unless a purge forbids one: then nothing of the transaction remains."""
    taken = await feed.take(connection, len(changed))
    refusing = await feed.refusing_purge(connection, [new for _, new in changed], taken.trimmed)
    if refusing is not None:
        raise Abandoned(RefusedByPurge(refusing))
    await feed.report(connection, kind, [entry_id for entry_id, _ in changed], taken.first, at=at)
    return taken.first


async def _insert_parts(connection: AsyncConnection, added: Sequence[tuple[int, NewEntry]]) -> None:
    parts = (
        (_NEW_OUTPUTS, [output_values(i, place, out) for i, new in added for place, out in enumerate(new.outputs)]),
        (_NEW_VECTORS, [vector_values(i, new.vector) for i, new in added if new.vector is not None]),
        (_NEW_TAGS, [{"entry_id": i, "tag": tag} for i, new in added for tag in sorted(new.tags)]),
    )
    for statement, rows in parts:
        await statement.run(connection, rows)


async def _append_parts(connection: AsyncConnection, entry: Entry, new: NewEntry) -> None:
    """Adds outputs behind those that are there, tags to its tags, and the vector where it has none of that model.

    The entry's age stays that of its oldest output.
    """
    rows = [
        output_values(entry.id, position, output) for position, output in enumerate(new.outputs, len(entry.outputs))
    ]
    await _NEW_OUTPUTS.run(connection, rows)
    held = set((await connection.execute(sa.select(tags.c.tag).where(tags.c.entry_id == entry.id))).scalars())
    added = [{"entry_id": entry.id, "tag": tag} for tag in sorted(new.tags - held)]
    await _NEW_TAGS.run(connection, added)
    if new.vector is not None and entry.analysis_version is None:
        await _NEW_VECTORS.run(connection, [vector_values(entry.id, new.vector)])
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
