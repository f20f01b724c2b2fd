"""What entries are worth keeping, as SQL: counting hits, adding up what is held, and evicting what is worth least.

A hit changes `worth` alone, in batches, and is no change of the feed; an eviction is one like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cache_service.store import feed, removal
from cache_service.store.base import ChangeKind, Evicted, Use
from cache_service.store.entry import NewEntry
from cache_service.store.eviction import NOTHING, Evictable, Excess, Held, Ranking, Worth, asked, chosen, made
from cache_service.store.prepared import Prepared
from cache_service.store.rows import Row
from cache_service.store.tables import changes, counter, entries, floors, outputs, worth

PAGE = 500
"""Rows ranked in one transaction, a few milliseconds."""

_FLOOR = sa.select(floors.c.priority).where(floors.c.name == sa.bindparam("floor", type_=sa.Text)).scalar_subquery()
_PRIORITY = sa.func.coalesce(_FLOOR, 0.0) + sa.bindparam("value", type_=sa.Double)
"""A priority stands on the floor as it is when the statement runs."""
_BEGIN = Prepared.same(sa.insert(worth).values(priority=_PRIORITY))
_RENEW = (
    sa.update(worth).where(worth.c.entry_id == sa.bindparam("its_id", type_=sa.BigInteger)).values(priority=_PRIORITY)
)


async def begin(connection: AsyncConnection, added: Sequence[tuple[int, NewEntry]], ranking: Ranking) -> None:
    """Files what new entries are worth."""
    rows = []
    for entry_id, new in added:
        its = made(new.created_at, blob_bytes_of(new), usd_of(new))
        rows.append(_row(entry_id, new.namespace, its, ranking))
    await _BEGIN.run(connection, rows)


async def renew(connection: AsyncConnection, entry_id: int, new: NewEntry, ranking: Ranking) -> None:
    """The entry was replaced: it is asked for as often as before, weighs and costs what the new one does."""
    row = (await connection.execute(sa.select(worth).where(worth.c.entry_id == entry_id))).one_or_none()
    if row is None:
        await begin(connection, [(entry_id, new)], ranking)
        return
    now = replace(_worth(row), blob_bytes=blob_bytes_of(new), usd=usd_of(new))
    await _update(connection, row, asked(now, 1, new.created_at), ranking)


async def grow(connection: AsyncConnection, entry_id: int, new: NewEntry, ranking: Ranking) -> None:
    """Adds what the new outputs weigh and cost; asking for more of an entry is asking for it."""
    row = (await connection.execute(sa.select(worth).where(worth.c.entry_id == entry_id))).one_or_none()
    if row is None:
        return  # of a release that didn't count; `adopt` finds it
    before = _worth(row)
    prices = [price for price in (before.usd, usd_of(new)) if price is not None]
    grown = replace(before, blob_bytes=before.blob_bytes + blob_bytes_of(new), usd=sum(prices) if prices else None)
    await _update(connection, row, asked(grown, 1, new.created_at), ranking)


async def record_uses(connection: AsyncConnection, uses: Mapping[int, Use], ranking: Ranking) -> None:
    """Reads the rows, counts, and writes them back; in the order of their ids, so that two nodes can't wait for each other."""
    for ids in removal.paged(sorted(uses)):
        rows = sa.select(worth).where(worth.c.entry_id.in_(ids)).order_by(worth.c.entry_id).with_for_update()
        for row in (await connection.execute(rows)).all():
            use = uses[row.entry_id]
            await _update(connection, row, asked(_worth(row), use.times, use.at), ranking)


async def held(connection: AsyncConnection) -> dict[str, Held]:
    """By namespace."""
    statement = sa.select(worth.c.namespace, sa.func.count(), sa.func.sum(worth.c.blob_bytes))
    rows = await connection.execute(statement.group_by(worth.c.namespace))
    return {namespace: Held(count, int(blob_bytes)) for namespace, count, blob_bytes in rows}


async def evict(
    connection: AsyncConnection, excess: Excess, ranking: Ranking, *, limit: int, now: float, at: float
) -> Evicted:
    """Deletes what is worth least, up to `limit` entries, and raises the floor to what went last."""
    number = await feed.lock(connection)
    going = chosen(await _least(connection, excess, limit, now), excess)
    if not going:
        return Evicted(0, number, (), {})
    ids = [entry.entry_id for entry in going]
    orphaned = await removal.delete(connection, ids)
    taken = await feed.take(connection, len(ids))
    await feed.report(connection, ChangeKind.EVICTED, ids, taken.first, at=at)
    freed: dict[str, Held] = {}
    raised: dict[str, float] = {}
    for entry in going:
        freed[entry.namespace] = freed.get(entry.namespace, NOTHING) + Held(1, entry.blob_bytes)
        if ranking.ages and entry.priority is not None:
            name = ranking.floor_of(entry.namespace)
            raised[name] = max(raised.get(name, entry.priority), entry.priority)
    for name, priority in raised.items():
        await _raise_floor(connection, name, priority)
    return Evicted(len(ids), taken.last, orphaned, freed)


async def uncounted(connection: AsyncConnection, after: int | None = None) -> list[int]:
    """Up to `PAGE` entries that nobody has counted yet: of a database, or another node, of an earlier release.

    after: look only at those that changed with a larger number; to look at all of a million takes seconds.
    """
    missing = ~sa.exists().where(worth.c.entry_id == entries.c.id)
    statement = sa.select(entries.c.id).where(missing).order_by(entries.c.id).limit(PAGE)
    if after is not None:
        statement = statement.where(entries.c.id.in_(sa.select(changes.c.entry_id).where(changes.c.number > after)))
    return list((await connection.execute(statement)).scalars())


async def adopt(connection: AsyncConnection, entry_ids: list[int], ranking: Ranking) -> int:
    """Begins to count those of the entries that are there and that nobody has begun to count meanwhile."""
    weights = (
        sa.select(sa.func.coalesce(sa.func.sum(outputs.c.size), 0))
        .where(outputs.c.entry_id == entries.c.id)
        .correlate(entries)
        .scalar_subquery()
    )
    missing = ~sa.exists().where(worth.c.entry_id == entries.c.id)
    statement = sa.select(entries.c.id, entries.c.namespace, entries.c.created_at, weights.label("blob_bytes"))
    await feed.lock(connection)  # nobody deletes them meanwhile, and of two nodes one comes first
    rows = (await connection.execute(statement.where(missing, entries.c.id.in_(entry_ids)))).all()
    for row in rows:
        its = made(row.created_at, int(row.blob_bytes), None)
        await _BEGIN.run(connection, [_row(row.id, row.namespace, its, ranking)])
    return len(rows)


async def rule(connection: AsyncConnection) -> str | None:
    """By which rule the priorities were computed; None before the first time."""
    found: str | None = (await connection.execute(sa.select(counter.c.ranking))).scalar_one()
    return found


async def rank_again(connection: AsyncConnection, after_id: int, ranking: Ranking) -> tuple[int | None, int]:
    """Computes a page of priorities by another rule, on no floor.

    The page's last id, None at the end, which is then on record; and how many it holds.
    """
    if after_id == 0:
        await connection.execute(sa.delete(floors))
    statement = sa.select(worth).where(worth.c.entry_id > after_id).order_by(worth.c.entry_id).limit(PAGE)
    rows = (await connection.execute(statement.with_for_update())).all()
    if not rows:
        await connection.execute(sa.update(counter).values(ranking=ranking.rule))
        return None, 0
    for row in rows:
        await _update(connection, row, _worth(row), ranking)
    return int(rows[-1].entry_id), len(rows)


def blob_bytes_of(new: NewEntry) -> int:
    """Bytes of the pictures, each once."""
    return sum({output.blob: output.size for output in new.outputs if output.blob is not None}.values())


def usd_of(new: NewEntry) -> float | None:
    """What making the outputs cost, as far as it is known."""
    prices = [output.usd for output in new.outputs if output.usd is not None]
    return sum(prices) if prices else None


async def _least(connection: AsyncConnection, excess: Excess, limit: int, now: float) -> list[Evictable]:
    """What has expired goes first, then what has the least priority."""
    columns = sa.select(worth.c.entry_id, worth.c.namespace, worth.c.blob_bytes, worth.c.priority)
    if excess.namespace is not None:
        columns = columns.where(worth.c.namespace == excess.namespace)
    if excess.only_pictures:
        columns = columns.where(worth.c.blob_bytes > 0)
    expired = columns.join(entries, entries.c.id == worth.c.entry_id).where(entries.c.expires_at < now)
    found: dict[int, Evictable] = {}
    for ordered_by_priority, statement in (
        (False, expired.order_by(entries.c.expires_at)),
        (True, columns.order_by(worth.c.priority, worth.c.entry_id)),
    ):
        for row in await connection.execute(statement.limit(limit)):
            priority = row.priority if row.priority > removal.LEAST_PRIORITY and ordered_by_priority else None
            found.setdefault(row.entry_id, Evictable(row.entry_id, row.namespace, int(row.blob_bytes), priority))
        if len(found) >= limit:
            break
    return list(found.values())[:limit]


async def _raise_floor(connection: AsyncConnection, name: str, priority: float) -> None:
    """Never lowers it. The counter is locked, so that nobody does the same meanwhile."""
    raised = sa.case((floors.c.priority < priority, priority), else_=floors.c.priority)
    done = await connection.execute(sa.update(floors).where(floors.c.name == name).values(priority=raised))
    if not done.rowcount:
        await connection.execute(sa.insert(floors).values(name=name, priority=priority))


async def _update(connection: AsyncConnection, row: Row, now: Worth, ranking: Ranking) -> None:
    await connection.execute(_RENEW, _row(row.entry_id, row.namespace, now, ranking) | {"its_id": row.entry_id})


def _row(entry_id: int, namespace: str, now: Worth, ranking: Ranking) -> dict[str, Any]:
    """The parameters of `_BEGIN` and `_RENEW`; where priorities don't age, they stand on the floor of no name."""
    return {
        "entry_id": entry_id,
        "namespace": namespace,
        "blob_bytes": now.blob_bytes,
        "usd": now.usd,
        "hits": now.hits,
        "last_used": now.last_used,
        "value": ranking.value(now),
        "floor": ranking.floor_of(namespace) if ranking.ages else None,
    }


def _worth(row: Row) -> Worth:
    return Worth(row.blob_bytes, row.usd, row.hits, row.last_used)
