"""Batches in SQL: the same code on SQLite and PostgreSQL; `cache_service.batch` says what each method promises.

Whoever ends items locks their batch's row first and numbers them from its counter, so that a reader who asks for `number > last`
misses none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cache_service.batch import (
    HITS,
    SENT,
    WAITING,
    Batch,
    Ended,
    Item,
    ItemResult,
    NewItem,
    Options,
    SentItem,
    Tally,
    TooManyRunning,
    UpstreamBatch,
)
from cache_service.store.engine import Abandoned, Database
from cache_service.store.prepared import Prepared
from cache_service.store.tables import batch_items, batches, upstream_batches

INSERTED_AT_ONCE = 500
"""Rows of one statement; the whole batch is one transaction all the same."""

_OF, _AT = sa.bindparam("of", type_=sa.BigInteger), sa.bindparam("at", type_=sa.Integer)
_END = Prepared.same(
    sa.update(batch_items)
    .where(
        batch_items.c.batch == _OF,
        batch_items.c.position == _AT,
        sa.or_(batch_items.c.state == WAITING, batch_items.c.state == SENT),
    )
    .values(sent=sa.null(), draft=sa.null())
    .returning(batch_items.c.position)
)
_EQUAL = Prepared.same(
    sa.select(batch_items.c.position)
    .where(batch_items.c.batch == _OF, batch_items.c.same_as == _AT, batch_items.c.state == WAITING)
    .order_by(batch_items.c.position)
)


class SqlBatchStore:
    """A `BatchStore` on a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self, batch: Batch, items: Sequence[NewItem], *, owner: str, lease: float, most_running: int
    ) -> Batch | TooManyRunning:
        """One transaction."""

        async def work(connection: AsyncConnection) -> Batch | TooManyRunning:
            if connection.dialect.name == "postgresql":  # or two at once would both be the last that fits
                lock = sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(batch.client, 0))
                await connection.execute(sa.select(lock))
            query = sa.select(sa.func.count()).where(batches.c.client == batch.client, batches.c.ended_at.is_(None))
            running = int((await connection.execute(query)).scalar_one())
            if running >= most_running:
                raise Abandoned(TooManyRunning(running))
            row = {**_row(batch), "owner": owner, "lease": lease}
            number = (await connection.execute(sa.insert(batches).values(row).returning(batches.c.number))).scalar_one()
            rows = [
                {"batch": number, "position": position, "state": WAITING, **asdict(item)}
                for position, item in enumerate(items)
            ]
            for start in range(0, len(rows), INSERTED_AT_ONCE):
                await connection.execute(sa.insert(batch_items), rows[start : start + INSERTED_AT_ONCE])
            return replace(batch, number=number)

        return await self._database.write(work)

    async def find(self, batch_id: str, *, namespace: str) -> Batch | None:
        """One statement."""
        query = sa.select(batches).where(batches.c.id == batch_id, batches.c.namespace == namespace)
        found = await self._database.read(lambda c: _all(c, query))
        return _batch(found[0]) if found else None

    async def tally(self, number: int) -> Tally:
        """One statement."""
        query = (
            sa.select(
                batch_items.c.state,
                batch_items.c.decision,
                sa.func.count().label("items"),
                sa.func.sum(batch_items.c.usd).label("usd"),
                sa.func.count(batch_items.c.usd).label("priced"),
            )
            .where(batch_items.c.batch == number)
            .group_by(batch_items.c.state, batch_items.c.decision)
        )
        return _tally(await self._database.read(lambda c: _all(c, query)))

    async def cancel(self, number: int, *, at: float) -> None:
        """One statement."""
        running = (batches.c.number == number, batches.c.ended_at.is_(None), batches.c.cancelled_at.is_(None))
        await self._database.write(lambda c: c.execute(sa.update(batches).where(*running).values(cancelled_at=at)))

    async def delete(self, number: int) -> bool:
        """One statement; items go along."""
        ended = (batches.c.number == number, batches.c.ended_at.is_not(None))
        return (await self._database.write(lambda c: c.execute(sa.delete(batches).where(*ended)))).rowcount > 0

    async def results(self, number: int, *, after: int, limit: int, most_bytes: int) -> list[ItemResult]:
        """Sizes first, then those that fit: two statements."""
        here = (batch_items.c.batch == number, batch_items.c.number > after)
        sizes = (
            sa.select(batch_items.c.number, sa.func.length(batch_items.c.body).label("size"))
            .where(*here)
            .order_by(batch_items.c.number)
            .limit(limit)
        )
        columns = [batch_items.c[name] for name in ("number", "position", "state", "cache", "body")]

        async def work(connection: AsyncConnection) -> list[ItemResult]:
            room, last = most_bytes, None
            for row in await _all(connection, sizes):
                room -= row.size or 0
                if room < 0 and last is not None:
                    break
                last = row.number
            if last is None:
                return []
            query = sa.select(*columns).where(*here, batch_items.c.number <= last).order_by(batch_items.c.number)
            return [ItemResult(*row) for row in await _all(connection, query)]

        return await self._database.read(work)

    async def waiting(self, number: int, *, after: int, limit: int) -> list[Item]:
        """One statement."""
        columns = [batch_items.c[name] for name in ("position", "operation", "request", "steering")]
        query = (
            sa.select(*columns)
            .where(
                batch_items.c.batch == number,
                batch_items.c.state == WAITING,
                batch_items.c.same_as.is_(None),
                batch_items.c.position > after,
            )
            .order_by(batch_items.c.position)
            .limit(limit)
        )
        return [Item(*row) for row in await self._database.read(lambda c: _all(c, query))]

    async def end_items(self, number: int, ended: Sequence[Ended]) -> int:
        """The batch's row is locked first."""

        async def work(connection: AsyncConnection) -> int:
            query = sa.select(batches.c.ended).where(batches.c.number == number).with_for_update()
            before = (await connection.execute(query)).scalar_one_or_none()
            if before is None:
                return 0
            last = before
            for one in ended:
                last = await _end(connection, number, one, last)
            await connection.execute(sa.update(batches).where(batches.c.number == number).values(ended=last))
            return int(last - before)

        return await self._database.write(work)

    async def finish(self, number: int, *, at: float) -> bool:
        """One statement."""
        whole = (batches.c.number == number, batches.c.ended == batches.c.total)
        statement = sa.update(batches).where(*whole).values(ended_at=sa.func.coalesce(batches.c.ended_at, at))
        return (await self._database.write(lambda c: c.execute(statement))).rowcount > 0

    async def claim(self, *, owner: str, now: float, lease: float) -> list[Batch]:
        """One statement; of two owners one gets each batch."""
        free = sa.or_(batches.c.owner == owner, batches.c.lease < now)
        statement = (
            sa.update(batches)
            .where(batches.c.ended_at.is_(None), free)
            .values(owner=owner, lease=lease)
            .returning(batches)
        )
        return sorted(
            (_batch(row) for row in await self._database.write(lambda c: _all(c, statement))), key=lambda b: b.number
        )

    async def renew(self, number: int, *, owner: str, lease: float) -> Batch | None:
        """One statement."""
        mine = (batches.c.number == number, batches.c.owner == owner)
        statement = sa.update(batches).where(*mine).values(lease=lease).returning(batches)
        found = await self._database.write(lambda c: _all(c, statement))
        return _batch(found[0]) if found else None

    async def trim(self, *, before: float) -> int:
        """One statement; items go along."""
        return (
            await self._database.write(lambda c: c.execute(sa.delete(batches).where(batches.c.ended_at < before)))
        ).rowcount

    async def send(self, number: int, path: str, items: Sequence[SentItem]) -> UpstreamBatch:
        """One transaction."""

        async def work(connection: AsyncConnection) -> UpstreamBatch:
            row = {"batch": number, "path": path, "key_name": "", "state": "open"}
            made = sa.insert(upstream_batches).values(row).returning(upstream_batches.c.number)
            upstream = UpstreamBatch((await connection.execute(made)).scalar_one(), path)
            for item in items:
                values = {"state": SENT, "upstream_batch": upstream.number, "sent": item.body, "draft": item.draft}
                where = (*_of(number, item.position), batch_items.c.state == WAITING)
                await connection.execute(sa.update(batch_items).where(*where).values(values))
            return upstream

        return await self._database.write(work)

    async def sent_items(self, upstream: UpstreamBatch, *, after: int, limit: int) -> list[SentItem]:
        """One statement."""
        query = _sent(upstream).where(batch_items.c.position > after).order_by(batch_items.c.position).limit(limit)
        return [SentItem(*row) for row in await self._database.read(lambda c: _all(c, query))]

    async def sent_item(self, upstream: UpstreamBatch, position: int) -> SentItem | None:
        """One statement."""
        query = _sent(upstream).where(batch_items.c.position == position)
        found = await self._database.read(lambda c: _all(c, query))
        return SentItem(*found[0]) if found else None

    async def update_upstream(self, upstream: UpstreamBatch) -> None:
        """One statement."""
        statement = sa.update(upstream_batches).where(upstream_batches.c.number == upstream.number)
        await self._database.write(lambda c: c.execute(statement.values(asdict(upstream))))

    async def open_upstream(self, number: int) -> list[UpstreamBatch]:
        """One statement."""
        columns = [upstream_batches.c[name] for name in UpstreamBatch.__dataclass_fields__]
        query = (
            sa.select(*columns)
            .where(upstream_batches.c.batch == number, upstream_batches.c.state == "open")
            .order_by(upstream_batches.c.number)
        )
        return [UpstreamBatch(*row) for row in await self._database.read(lambda c: _all(c, query))]


async def _all(connection: AsyncConnection, statement: Any) -> Sequence[Any]:
    return (await connection.execute(statement)).all()


async def _end(connection: AsyncConnection, number: int, one: Ended, last: int) -> int:
    """Ends one item and its equals; gives the newest number. An item that has ended stays as it is."""
    values: dict[str, Any] = {"of": number, "state": one.state, "body": one.body}
    own = {"number": last + 1, "decision": one.decision, "usd": one.usd, "cache": one.cache}
    if not await _END.all(connection, values | own | {"at": one.position}):
        return last
    last += 1
    collapsed = "collapsed" if one.state == "done" else one.decision
    values |= {"decision": collapsed, "usd": None, "cache": one.collapsed}
    for (position,) in await _EQUAL.all(connection, {"of": number, "at": one.position}):
        last += 1
        await _END.all(connection, values | {"number": last, "at": position})
    return last


def _of(number: int, position: int) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return batch_items.c.batch == number, batch_items.c.position == position


def _sent(upstream: UpstreamBatch) -> sa.Select[Any]:
    columns = (batch_items.c.position, batch_items.c.sent, batch_items.c.draft)
    return sa.select(*columns).where(batch_items.c.upstream_batch == upstream.number, batch_items.c.state == SENT)


def _tally(rows: Sequence[Any]) -> Tally:
    counts: dict[str, int] = {}
    usd, unknown = 0.0, 0
    for row in rows:
        outcome = row.state
        if outcome == "done":
            outcome = "hits" if row.decision in HITS else "generated"
        counts[outcome] = counts.get(outcome, 0) + row.items
        if outcome == "generated":
            usd += row.usd or 0.0
            unknown += row.items - row.priced
    return Tally(**counts, usd=usd, unknown_price=unknown)


def _row(batch: Batch) -> Mapping[str, Any]:
    values = asdict(batch)
    del values["number"]
    return {**values, "options": json.dumps(values["options"])}


def _batch(row: Any) -> Batch:
    known = {name: getattr(row, name) for name in Batch.__dataclass_fields__}
    options = {name: value for name, value in json.loads(row.options).items() if name in Options.__dataclass_fields__}
    return Batch(**known | {"options": Options(**options)})
