"""The change feed and the purges, both numbered by the one counter row.

Whoever changes entries takes its numbers with `take` as the last thing before it reports them and commits: the row lock
makes commits follow each other in the order of their numbers, so a reader who polls `number > last` misses none (a
sequence lost up to 166 of 600). Whoever *deletes or rewrites* rows that others may see locks the counter first, so that
two of them can't wait for each other, and a purge sees everything that was stored with a smaller number.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cache_service.store.base import Change, ChangeKind, FeedPosition
from cache_service.store.entry import NewEntry, PurgePredicate
from cache_service.store.prepared import Prepared
from cache_service.store.rows import predicate_from_text, predicate_to_text
from cache_service.store.tables import changes, counter, purges

NO_ENTRY = 0
"""Entry id in the change row of a purge that took nothing: its number must be larger than any given out before."""


_NUMBER = Prepared.same(sa.select(counter.c.number))
_TAKE = Prepared.same(
    sa.update(counter)
    .values(number=counter.c.number + sa.bindparam("count"))
    .returning(counter.c.number, counter.c.trimmed)
)
_REPORT = Prepared.same(sa.insert(changes))
_PURGES_AFTER = Prepared.same(
    sa.select(purges.c.number, purges.c.predicate)
    .where(purges.c.number > sa.bindparam("began"))
    .order_by(purges.c.number)
)


@dataclass(frozen=True, slots=True)
class Taken:
    """Numbers `first` to `last`, ours alone until the commit; `trimmed` is the newest purge that is no longer kept."""

    first: int
    last: int
    trimmed: int


async def lock(connection: AsyncConnection) -> int:
    """Waits for everyone who has taken numbers or the lock, and gives the newest number. SQLite's writer has it anyway."""
    return int((await connection.execute(sa.select(counter.c.number).with_for_update())).scalar_one())


async def number(connection: AsyncConnection) -> int:
    """The newest number; a generation that begins now has it."""
    return int((await _NUMBER.all(connection, {}))[0].number)


async def take(connection: AsyncConnection, count: int) -> Taken:
    """The next `count` numbers; others who want some wait until this transaction ends."""
    ((last, trimmed),) = await _TAKE.all(connection, {"count": count})
    return Taken(last - count + 1, last, trimmed)


async def report(
    connection: AsyncConnection, kind: ChangeKind, entry_ids: Iterable[int], first: int, *, at: float
) -> None:
    """Writes one change for each entry, numbered from `first` on."""
    rows = [
        {"number": number, "kind": kind.value, "entry_id": entry_id, "at": at}
        for number, entry_id in enumerate(entry_ids, start=first)
    ]
    await _REPORT.run(connection, rows)


async def refusing_purge(connection: AsyncConnection, several: Sequence[NewEntry], trimmed: int) -> int | None:
    """The number of a purge that forbids storing one of them, or None. To be asked while the counter is ours.

    Of what began before a purge that is no longer kept nobody knows whether it may be stored, so it isn't.
    """
    began = min(new.began for new in several)
    if began < trimmed:
        return trimmed
    for number, text in await _PURGES_AFTER.all(connection, {"began": began}):
        predicate = predicate_from_text(text)
        if any(new.began < number and predicate.matches(new) for new in several):
            return int(number)
    return None


async def file_purge(connection: AsyncConnection, predicate: PurgePredicate, entry_ids: list[int], *, at: float) -> int:
    """Numbers a purge that deleted those entries; gives the number that the purge holds, its changes' last."""
    reported = entry_ids or [NO_ENTRY]
    taken = await take(connection, len(reported))
    await report(connection, ChangeKind.PURGED, reported, taken.first, at=at)
    row = {"number": taken.last, "predicate": predicate_to_text(predicate), "at": at, "count": len(entry_ids)}
    await connection.execute(sa.insert(purges), row)
    return taken.last


async def position(connection: AsyncConnection) -> FeedPosition:
    """Where the feed stands, in one statement."""
    oldest = sa.select(sa.func.min(changes.c.number)).scalar_subquery()
    row = (await connection.execute(sa.select(counter.c.epoch, counter.c.number, oldest.label("oldest")))).one()
    return FeedPosition(row.epoch, row.number, row.number + 1 if row.oldest is None else row.oldest)


async def renew_epoch(connection: AsyncConnection) -> None:
    """Makes this another database for all who followed it: they rebuild. For a copy, whose next numbers mean something else."""
    await connection.execute(sa.update(counter).values(epoch=secrets.token_hex(16)))


async def changes_after(connection: AsyncConnection, after: int, limit: int) -> list[Change]:
    """Up to `limit` changes with a larger number, in order."""
    statement = (
        sa.select(changes.c.number, changes.c.kind, changes.c.entry_id)
        .where(changes.c.number > after)
        .order_by(changes.c.number)
        .limit(limit)
    )
    return [Change(n, ChangeKind(kind), entry_id) for n, kind, entry_id in await connection.execute(statement)]


async def trim(connection: AsyncConnection, before: float) -> int:
    """Deletes changes and purges from the old end up to the first that isn't older than `before`.

    By number, not by each row's own time: a clock that was set back must not make holes in the feed.
    """
    number = await lock(connection)
    deleted = 0
    for table in (changes, purges):
        kept = sa.select(sa.func.min(table.c.number)).where(table.c.at >= before)
        first_kept = (await connection.execute(kept)).scalar_one() or number + 1
        gone = table.c.number < first_kept
        if table is purges:
            newest_gone = (await connection.execute(sa.select(sa.func.max(table.c.number)).where(gone))).scalar_one()
            if newest_gone is not None:
                await connection.execute(sa.update(counter).values(trimmed=newest_gone))
        deleted += (await connection.execute(sa.delete(table).where(gone))).rowcount
    return deleted
