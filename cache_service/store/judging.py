"""The record of semantic hits and the feedback on them, as SQL.

Feedback takes its number as every change does (`feed` says how), so that who polls `number > last` misses none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cache_service.store import auditing, feed
from cache_service.store.base import ChangeKind
from cache_service.store.entry import Feedback, Judgement, ServedHit
from cache_service.store.records import Act
from cache_service.store.rows import Row
from cache_service.store.tables import entries, feedback, hits

BAND = 0.005
"""Width of a band of similarities in `bands`."""


async def record_hits(connection: AsyncConnection, served: Sequence[ServedHit]) -> None:
    """One statement for all."""
    if served:
        await connection.execute(sa.insert(hits), [asdict(hit) for hit in served])


async def find_hit(
    connection: AsyncConnection, namespace: str, key: str | None, request_id: str | None
) -> ServedHit | None:
    """By the request id if one is given, else by the key on either side."""
    if request_id is not None:
        named: sa.ColumnElement[bool] = hits.c.request_id == request_id
    elif key is not None:
        named = sa.or_(hits.c.asked_key == key, hits.c.stored_key == key)
    else:
        return None
    statement = sa.select(hits).where(hits.c.namespace == namespace, named).order_by(hits.c.id.desc()).limit(1)
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else _hit(row, row.at)


async def trim_hits(connection: AsyncConnection, keep: int) -> int:
    """By id: the oldest went in first."""
    first_kept = sa.select(hits.c.id).order_by(hits.c.id.desc()).offset(keep).limit(1).scalar_subquery()
    return (await connection.execute(sa.delete(hits).where(hits.c.id <= first_kept))).rowcount


async def add(
    connection: AsyncConnection, hit: ServedHit, verdict: Judgement, client: str, *, at: float, by: Act | None = None
) -> Feedback:
    """The row, and its change."""
    await auditing.file(connection, by, count=1, at=at)
    number = await _number(connection, at=at)
    values = asdict(hit)
    values["hit_at"] = values.pop("at")
    row = {"number": number, "verdict": verdict, "client": client, "at": at, **values}
    await connection.execute(sa.insert(feedback), row)
    return Feedback(number, hit, verdict, client, at)


async def undo(connection: AsyncConnection, number: int, *, at: float, by: Act | None = None) -> Feedback | None:
    """Undone twice is undone once."""
    await feed.lock(connection)
    row = (await connection.execute(sa.select(feedback).where(feedback.c.number == number))).one_or_none()
    if row is None:
        return None
    found = _feedback(row)
    if found.undone is not None:
        return found
    await auditing.file(connection, by, count=1, at=at)
    undone = await _number(connection, at=at)
    await connection.execute(sa.update(feedback).where(feedback.c.number == number).values(undone=undone))
    return replace(found, undone=undone)


async def after(connection: AsyncConnection, number: int) -> list[Feedback]:
    """What was given or undone since."""
    since = sa.or_(feedback.c.number > number, feedback.c.undone > number)
    rows = await connection.execute(sa.select(feedback).where(since).order_by(feedback.c.number))
    return [_feedback(row) for row in rows]


async def newest(connection: AsyncConnection, namespace: str | None, before: int | None, limit: int) -> list[Feedback]:
    """A page, with the prompts of entries that are there."""
    asked, stored = entries.alias("asked"), entries.alias("stored")
    statement = (
        sa.select(feedback, asked.c.prompt.label("asked_prompt"), stored.c.prompt.label("stored_prompt"))
        .select_from(
            feedback.outerjoin(asked, asked.c.exact_key == feedback.c.asked_key).outerjoin(
                stored, stored.c.exact_key == feedback.c.stored_key
            )
        )
        .order_by(feedback.c.number.desc())
        .limit(limit)
    )
    if namespace is not None:
        statement = statement.where(feedback.c.namespace == namespace)
    if before is not None:
        statement = statement.where(feedback.c.number < before)
    return [
        replace(_feedback(row), asked_prompt=row.asked_prompt, stored_prompt=row.stored_prompt)
        for row in await connection.execute(statement)
    ]


async def hits_of(connection: AsyncConnection, namespace: str, key: str, limit: int) -> list[ServedHit]:
    """By either key, each through its own index."""
    sides = [
        sa.select(hits)
        .where(hits.c.namespace == namespace, column == key)
        .order_by(hits.c.id.desc())
        .limit(limit)
        .subquery()
        for column in (hits.c.asked_key, hits.c.stored_key)
    ]
    both = sa.union(*(sa.select(side) for side in sides)).subquery()
    rows = await connection.execute(sa.select(both).order_by(both.c.id.desc()).limit(limit))
    return [_hit(row, row.at) for row in rows]


async def bands(
    connection: AsyncConnection, namespace: str | None, operation: str | None
) -> list[tuple[float, Judgement | None, int]]:
    """Recorded hits, and feedback that holds, by bands of similarity; the record of hits is bounded."""
    named = {name: value for name, value in (("namespace", namespace), ("operation", operation)) if value is not None}
    found: list[tuple[float, Judgement | None, int]] = []
    for table in (hits, feedback):
        # the band's lower edge; a little more than a half, because databases round halves differently
        band = sa.func.round(table.c.similarity / BAND - 0.5 + 1e-9).label("band")
        query = sa.select(band, sa.func.count().label("many")).where(*(table.c[name] == named[name] for name in named))
        if table is feedback:
            query = query.add_columns(feedback.c.verdict).where(feedback.c.undone.is_(None))
            query = query.group_by(band, feedback.c.verdict)
        else:
            query = query.add_columns(sa.null().label("verdict")).group_by(band)
        rows = await connection.execute(query)
        found += [(round(row.band * BAND, 3), row.verdict, row.many) for row in rows]
    return sorted(found, key=lambda one: (one[0], one[1] or ""))


async def _number(connection: AsyncConnection, *, at: float) -> int:
    taken = await feed.take(connection, 1)
    await feed.report(connection, ChangeKind.JUDGED, [feed.NO_ENTRY], taken.first, at=at)
    return taken.last


def _feedback(row: Row) -> Feedback:
    return Feedback(row.number, _hit(row, row.hit_at), row.verdict, row.client, row.at, row.undone)


def _hit(row: Any, at: float) -> ServedHit:
    return ServedHit(
        namespace=row.namespace,
        operation=row.operation,
        request_id=row.request_id,
        asked_key=row.asked_key,
        asked_digest=row.asked_digest,
        stored_key=row.stored_key,
        stored_digest=row.stored_digest,
        similarity=row.similarity,
        at=at,
        shadow=row.shadow,
    )
