"""Pages of entries, newest first, in one statement whose work is bounded, whatever is asked and however many entries there are.

One of the filters leads: it walks an index in the page's own order, behind the place where the last page ended. The others look at
what it finds, at `SCANNED` rows at most. So a page may be short, even empty, and still have a next one; it is never slow.

Led by text, tag, age, namespace, model, or nothing, in that order. By age the order is that of `created_at`, else that of ids, which
are given when an entry is first stored (a replaced one keeps its id).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cache_service.store import words
from cache_service.store.records import EntryDetail, EntryFilter, EntryPage, EntrySummary, Place
from cache_service.store.rows import Row, json_from, output_from
from cache_service.store.tables import entries, outputs, tags

SCANNED = 5_000
"""Rows that one page looks at: with every filter at once some 15 ms on one core."""

PROMPT_SHOWN = 500  # characters of a prompt in a list

Conditions: TypeAlias = list[sa.ColumnElement[bool]]


def statement(wanted: EntryFilter, after: Place | None, limit: int, *, sqlite: bool) -> sa.Select[Any]:
    """The page, joined to one row that says how far was looked: `scanned` rows, the last at (`last_sort`, `last_id`)."""
    by_age = _led_by_age(wanted)
    leader, rest = _leader(wanted, after, sqlite=sqlite)
    scanned = leader.limit(SCANNED if rest else limit + 1).cte("scanned")
    backwards = (scanned.c.sort.desc(), scanned.c.id.desc()) if by_age else (scanned.c.id.desc(),)
    page = sa.select(scanned.c.sort, scanned.c.id).order_by(*backwards).limit(limit + 1)
    if rest:
        page = page.join(entries, entries.c.id == scanned.c.id).where(*rest)
    found = page.subquery("page")
    last = (
        sa.select(scanned.c.sort, scanned.c.id)
        .order_by(*(column.asc() for column in _columns(scanned, by_age)))
        .limit(1)
    )
    end = last.subquery("last_row")
    count = sa.select(sa.func.count().label("scanned")).select_from(scanned).subquery("counted")
    rows = sa.select(found.c.sort, *_SUMMARY).join_from(found, entries, entries.c.id == found.c.id).subquery("rows")
    order = (rows.c.sort.desc(), rows.c.id.desc())
    return (
        sa.select(count.c.scanned, end.c.sort.label("last_sort"), end.c.id.label("last_id"), *rows.c)
        .select_from(count.outerjoin(end, sa.true()).outerjoin(rows, sa.true()))
        .order_by(*order)
    )


async def page(connection: AsyncConnection, wanted: EntryFilter, after: Place | None, limit: int) -> EntryPage:
    """Up to `limit` entries behind `after`."""
    sqlite = connection.dialect.name == "sqlite"
    rows = (await connection.execute(statement(wanted, after, limit, sqlite=sqlite))).all()
    found = [row for row in rows if row.id is not None]
    if len(found) > limit:
        last = found[limit - 1]
        return EntryPage(tuple(_summary(row) for row in found[:limit]), Place(last.sort, last.id))
    exhausted = rows[0].scanned < SCANNED
    return EntryPage(tuple(map(_summary, found)), None if exhausted else Place(rows[0].last_sort, rows[0].last_id))


async def detail(connection: AsyncConnection, entry_id: int) -> EntryDetail | None:
    """All of one entry, also of one that is quarantined. Raises StoreCorrupt where an output isn't what was written."""
    columns = (entries.c.prompt.label("whole"), entries.c.prompt_digest, entries.c.partition, entries.c.request,
               entries.c.envelope, entries.c.made, entries.c.upstream_group)  # fmt: skip
    query = sa.select(*_SUMMARY, *columns).where(entries.c.id == entry_id)
    row = (await connection.execute(query)).one_or_none()
    if row is None:
        return None
    made = await connection.execute(
        sa.select(outputs).where(outputs.c.entry_id == entry_id).order_by(outputs.c.position)
    )
    named = await connection.execute(sa.select(tags.c.tag).where(tags.c.entry_id == entry_id).order_by(tags.c.tag))
    return EntryDetail(
        summary=_summary(row),
        partition=row.partition,
        prompt=row.whole,
        prompt_digest=row.prompt_digest,
        request=json_from(row.request),
        envelope=json_from(row.envelope),
        made=json_from(row.made),
        upstream_group=row.upstream_group,
        tags=tuple(named.scalars()),
        outputs=tuple(output_from(output) for output in made),
    )


async def by_key(connection: AsyncConnection, exact_key: str) -> int | None:
    """The id of the entry with that key."""
    found = await connection.execute(sa.select(entries.c.id).where(entries.c.exact_key == exact_key))
    return found.scalar_one_or_none()


def _led_by_age(wanted: EntryFilter) -> bool:
    led_otherwise = wanted.among is not None or bool(wanted.text) or wanted.tag is not None
    return not led_otherwise and (wanted.newer_than is not None or wanted.older_than is not None)


def _leader(wanted: EntryFilter, after: Place | None, *, sqlite: bool) -> tuple[sa.Select[Any], Conditions]:
    """Ids in the page's order, and the conditions that are left."""
    rest = _conditions(wanted)
    if wanted.among is not None:
        return _by_id(entries.c.id, after).where(entries.c.id.in_(wanted.among)), list(rest.values())
    if wanted.text:
        column, found = words.matching(wanted.text, sqlite=sqlite)
        return _by_id(column, after).where(found), list(rest.values())
    if wanted.tag is not None:
        del rest["tag"]
        return _by_id(tags.c.entry_id, after).where(tags.c.tag == wanted.tag), list(rest.values())
    if _led_by_age(wanted):
        ages = [rest.pop(name) for name in ("newer_than", "older_than") if name in rest]
        return _by_age(after).where(*ages), list(rest.values())
    for name in ("namespace", "model"):
        if name in rest:
            led = rest.pop(name)
            return _by_id(entries.c.id, after).where(led), list(rest.values())
    return _by_id(entries.c.id, after), list(rest.values())


def _by_id(column: sa.ColumnElement[int], after: Place | None) -> sa.Select[Any]:
    columns: tuple[sa.ColumnElement[Any], ...] = (sa.literal_column("0.0").label("sort"), column.label("id"))
    query = sa.select(*columns).order_by(column.desc())
    return query if after is None else query.where(column < after.id)


def _by_age(after: Place | None) -> sa.Select[Any]:
    query = sa.select(entries.c.created_at.label("sort"), entries.c.id.label("id"))
    query = query.order_by(entries.c.created_at.desc(), entries.c.id.desc())
    if after is None:
        return query
    return query.where(
        entries.c.created_at <= after.sort,
        sa.or_(entries.c.created_at < after.sort, entries.c.id < after.id),
    )


def _conditions(wanted: EntryFilter) -> dict[str, sa.ColumnElement[bool]]:
    """What a row of `entries` must fulfil, by the filter's member; text leads wherever it is given."""
    found: dict[str, sa.ColumnElement[bool]] = {}
    for name in ("namespace", "operation", "model"):
        if (value := getattr(wanted, name)) is not None:
            found[name] = entries.c[name] == value
    if wanted.newer_than is not None:
        found["newer_than"] = entries.c.created_at >= wanted.newer_than
    if wanted.older_than is not None:
        found["older_than"] = entries.c.created_at < wanted.older_than
    if wanted.tag is not None:
        found["tag"] = sa.exists().where(tags.c.entry_id == entries.c.id, tags.c.tag == wanted.tag)
    return found


def _columns(scanned: sa.CTE, by_age: bool) -> tuple[sa.ColumnElement[Any], ...]:
    return (scanned.c.sort, scanned.c.id) if by_age else (scanned.c.id,)


_OUTPUTS = sa.select(sa.func.count()).where(outputs.c.entry_id == entries.c.id).correlate(entries).scalar_subquery()
_FIRST = sa.select(outputs.c.blob).where(outputs.c.entry_id == entries.c.id, outputs.c.position == 0).correlate(entries)
_SUMMARY = (
    entries.c.id, entries.c.exact_key, entries.c.namespace, entries.c.operation, entries.c.model,
    sa.func.substr(entries.c.prompt, 1, PROMPT_SHOWN).label("prompt"), entries.c.created_at, entries.c.expires_at,
    entries.c.exact_only, entries.c.state, entries.c.client, _OUTPUTS.label("outputs"),
    _FIRST.scalar_subquery().label("blob"), _FIRST.with_only_columns(outputs.c.media_type).scalar_subquery().label("media_type"),
)  # fmt: skip


def _summary(row: Row) -> EntrySummary:
    return EntrySummary(
        id=row.id,
        exact_key=row.exact_key,
        namespace=row.namespace,
        operation=row.operation,
        model=row.model,
        prompt=row.prompt,
        created_at=row.created_at,
        expires_at=row.expires_at,
        exact_only=bool(row.exact_only),
        state=row.state,
        client=row.client,
        outputs=row.outputs,
        blob=row.blob,
        media_type=row.media_type,
    )
