"""Takes entries away: what a purge's predicate matches in SQL, and what has expired.

A purge locks the counter before it looks, so that every entry stored with a smaller number is seen, and every store
with a larger one finds the purge's row. A scan of all vectors would hold that lock for seconds; so it is done before,
and under the lock only the entries that changed meanwhile are looked at again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from itertools import islice
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cache_service.store import auditing, feed
from cache_service.store.base import ChangeKind, Purged
from cache_service.store.entry import PurgePredicate, Similar
from cache_service.store.records import Act
from cache_service.store.rows import matrix_from
from cache_service.store.tables import LIVE, QUARANTINED, changes, entries, outputs, tags, vectors, worth

T = TypeVar("T")

PAGE = 1000
"""Vectors compared at once (1.5 MB, a tenth of a millisecond), and the most parameters in one statement."""

LEAST_PRIORITY = -1e300

ROUNDING = 1e-4
"""A matrix product may differ from a dot product by less; what is so near the limit is computed again as `matches` does."""


async def matching(
    connection: AsyncConnection, predicate: PurgePredicate, *, changed_after: int | None = None
) -> list[int]:
    """Ids of the entries that fall under the predicate, ascending: exactly those whose `NewEntry` it `matches`.

    changed_after: look only at entries that changed with a larger number.
    """
    conditions = _conditions(predicate)
    if changed_after is not None:
        conditions.append(entries.c.id.in_(sa.select(changes.c.entry_id).where(changes.c.number > changed_after)))
    if predicate.similar is not None and not predicate.everything:
        return [entry_id async for entry_id in _similar(connection, predicate.similar, conditions)]
    found = await connection.execute(sa.select(entries.c.id).where(*conditions).order_by(entries.c.id))
    return list(found.scalars())


async def count(connection: AsyncConnection, predicate: PurgePredicate) -> int:
    """How many entries fall under the predicate; their ids are fetched only where vectors must be compared."""
    if predicate.similar is not None and not predicate.everything:
        return len(await matching(connection, predicate))
    if predicate == PurgePredicate(tag=predicate.tag) and predicate.tag is not None:  # its own index holds the answer
        counted = sa.select(sa.func.count()).where(tags.c.tag == predicate.tag)
    else:
        counted = sa.select(sa.func.count()).select_from(entries).where(*_conditions(predicate))
    return int((await connection.execute(counted)).scalar_one())


async def purge(
    connection: AsyncConnection,
    predicate: PurgePredicate,
    *,
    scanned: tuple[int, list[int]] | None,
    at: float,
    by: Act | None = None,
) -> Purged:
    """Deletes what matches and files the predicate, and the operator's act.

    scanned: the change number before a scan, and what the scan found; None to look at everything now.
    """
    await feed.lock(connection)
    if scanned is not None and (await feed.position(connection)).oldest <= scanned[0] + 1:
        since, found = scanned
        changed = set(
            (await connection.execute(sa.select(changes.c.entry_id).where(changes.c.number > since))).scalars()
        )
        fresh = await matching(connection, predicate, changed_after=since)
        ids = sorted({*(i for i in found if i not in changed), *fresh})
    else:
        ids = await matching(connection, predicate)
    orphaned = await delete(connection, ids)
    await auditing.file(connection, by, count=len(ids), at=at)
    number = await feed.file_purge(connection, predicate, ids, at=at)
    return Purged(len(ids), number, orphaned)


async def expire(connection: AsyncConnection, *, before: float, limit: int, at: float) -> Purged:
    """Deletes up to `limit` entries that expired before that time, the longest expired first."""
    number = await feed.lock(connection)
    statement = (
        sa.select(entries.c.id)
        .where(entries.c.expires_at < before)
        .order_by(entries.c.expires_at, entries.c.id)
        .limit(limit)
    )
    ids = list((await connection.execute(statement)).scalars())
    if not ids:
        return Purged(0, number, ())
    orphaned = await delete(connection, ids)
    taken = await feed.take(connection, len(ids))
    await feed.report(connection, ChangeKind.EXPIRED, ids, taken.first, at=at)
    return Purged(len(ids), taken.last, orphaned)


async def quarantine(connection: AsyncConnection, entry_ids: Collection[int], *, at: float) -> int:
    """Takes entries out of service and keeps them to be looked at; returns how many were live."""
    await feed.lock(connection)
    taken_out: list[int] = []
    for ids in paged(entry_ids):
        live = entries.c.id.in_(ids) & (entries.c.state == LIVE)
        statement = sa.update(entries).where(live).values(state=QUARANTINED).returning(entries.c.id)
        taken_out += sorted((await connection.execute(statement)).scalars())
        # what nobody is served any more is the first to go when room is needed
        await connection.execute(sa.update(worth).where(worth.c.entry_id.in_(ids)).values(priority=LEAST_PRIORITY))
    if taken_out:
        taken = await feed.take(connection, len(taken_out))
        await feed.report(connection, ChangeKind.QUARANTINED, taken_out, taken.first, at=at)
    return len(taken_out)


async def delete(connection: AsyncConnection, entry_ids: Collection[int]) -> tuple[str, ...]:
    """Deletes entries with all that hangs on them; gives the blobs that nothing refers to any more."""
    blobs: set[str] = set()
    for ids in paged(entry_ids):
        held = sa.select(outputs.c.blob).distinct().where(outputs.c.entry_id.in_(ids), outputs.c.blob.is_not(None))
        blobs.update((await connection.execute(held)).scalars())
        await connection.execute(sa.delete(entries).where(entries.c.id.in_(ids)))
    return tuple(sorted(await unreferenced(connection, blobs)))


async def unreferenced(connection: AsyncConnection, blobs: Collection[str]) -> set[str]:
    """Those of the blobs that no output refers to."""
    free = set(blobs)
    for page in paged(blobs):
        held = sa.select(outputs.c.blob).distinct().where(outputs.c.blob.in_(page))
        free.difference_update((await connection.execute(held)).scalars())
    return free


def paged(values: Iterable[T]) -> Iterator[list[T]]:
    """The values in lists that fit one statement."""
    rest = iter(values)
    while page := list(islice(rest, PAGE)):
        yield page


def _conditions(predicate: PurgePredicate) -> list[sa.ColumnElement[bool]]:
    """Everything but similarity, as SQL."""
    if predicate.everything:
        return []
    if predicate.empty:
        return [sa.false()]
    members: list[sa.ColumnElement[bool]] = []
    for column, value in (
        (entries.c.exact_key, predicate.key),
        (entries.c.prompt_digest, predicate.prompt_digest),
        (entries.c.namespace, predicate.namespace),
        (entries.c.operation, predicate.operation),
        (entries.c.model, predicate.model),
    ):
        if value is not None:
            members.append(column == value)
    if predicate.tag is not None:
        members.append(entries.c.id.in_(sa.select(tags.c.entry_id).where(tags.c.tag == predicate.tag)))
    if predicate.created_before is not None:
        members.append(entries.c.created_at < predicate.created_before)
    return members


async def _similar(
    connection: AsyncConnection, similar: Similar, conditions: list[sa.ColumnElement[bool]]
) -> AsyncIterator[int]:
    """Entries that are similar, or have vectors but none of that model: those can't be compared, and a purge must not miss."""
    ours = sa.and_(vectors.c.entry_id == entries.c.id, vectors.c.model_id == similar.model_id)
    any_vector = sa.exists().where(vectors.c.entry_id == entries.c.id).correlate(entries)
    after = 0
    while True:
        statement = (
            sa.select(entries.c.id, vectors.c.vector)
            .select_from(entries.outerjoin(vectors, ours))
            .where(entries.c.id > after, any_vector, *conditions)
            .order_by(entries.c.id)
            .limit(PAGE)
        )
        page = (await connection.execute(statement)).all()
        if not page:
            return
        comparable = [row for row in page if row.vector is not None]
        width = len(similar.vector)
        matrix = matrix_from((row.vector for row in comparable), width)
        with np.errstate(invalid="ignore"):
            cosines = matrix @ similar.vector
        near = {
            row.id
            for row, vector, cosine in zip(comparable, matrix, cosines, strict=True)
            if _at_least(float(cosine), vector, similar)
        }
        for row in page:
            if row.vector is None or row.id in near:
                yield row.id
        after = page[-1].id


def _at_least(cosine: float, vector: npt.NDArray[np.float32], similar: Similar) -> bool:
    """NaN, from a broken vector, counts as similar: what can't be compared must not survive a purge."""
    if abs(cosine - similar.at_least) < ROUNDING:
        cosine = float(vector @ similar.vector)
    return not cosine < similar.at_least
