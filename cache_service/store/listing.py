"""Pages of entries, newest first, in one statement whose work is bounded, whatever is asked and however many entries there are.

One of the filters leads: it walks an index in the page's own order, behind the place where the last page ended. The others look at
what it finds, at `SCANNED` rows at most. So a page may be short, even empty, and still have a next one; it is never slow.

Led by text, tag, age, namespace, model, or nothing, in that order. By age the order is that of `created_at`, else that of ids, which
are given when an entry is first stored (a replaced one keeps its id).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
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


async def page(connection: AsyncConnection, wanted: EntryFilter, after: Place | None, limit: int) -> EntryPage:
    """Up to `limit` entries behind `after`."""
    sqlite = connection.dialect.name == "sqlite"
    given = parameters(wanted, after, limit, sqlite=sqlite)
    rows = (await connection.execute(statement(frozenset(given), sqlite=sqlite), given)).all()
    found = [row for row in rows if row.id is not None]
    if len(found) > limit:
        last = found[limit - 1]
        return EntryPage(tuple(_summary(row) for row in found[:limit]), Place(last.sort, last.id))
    exhausted = rows[0].scanned < SCANNED
    return EntryPage(tuple(map(_summary, found)), None if exhausted else Place(rows[0].last_sort, rows[0].last_id))


def parameters(wanted: EntryFilter, after: Place | None, limit: int, *, sqlite: bool) -> dict[str, Any]:
    """Each filter that is set, by its member's name; the place; `more`, the most rows of a page, and one; `most`, those looked at."""
    given = {name: value for name in EntryFilter.__slots__ if (value := getattr(wanted, name)) not in (None, ())}
    if wanted.among is not None:
        given["among"] = list(wanted.among)
    if wanted.text:
        given["text"] = words.query(wanted.text, sqlite=sqlite)
    if after is not None:
        given |= {"after_id": after.id, "after_sort": after.sort} if _led_by_age(given) else {"after_id": after.id}
    return {**given, "more": limit + 1, "most": SCANNED}


@lru_cache(maxsize=256)
def statement(given: frozenset[str], *, sqlite: bool) -> sa.Select[Any]:
    """The page, joined to one row that says how far was looked: `scanned` rows, the last at (`last_sort`, `last_id`).

    given: the parameters' names. Built once for each set of them: building and fingerprinting it takes the loop longer than all
    else of a page.
    """
    by_age = _led_by_age(given)
    leader, rest = _leader(given, sqlite=sqlite)
    more = sa.bindparam("more", type_=sa.Integer)
    most = sa.bindparam("most", type_=sa.Integer)
    scanned = leader.limit(most if rest else more).cte("scanned")
    backwards = (scanned.c.sort.desc(), scanned.c.id.desc()) if by_age else (scanned.c.id.desc(),)
    page = sa.select(scanned.c.sort, scanned.c.id).order_by(*backwards).limit(more)
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


def _led_by_age(given: Collection[str]) -> bool:
    led_otherwise = not {"among", "text", "tag"}.isdisjoint(given)
    return not led_otherwise and ("newer_than" in given or "older_than" in given)


def _leader(given: frozenset[str], *, sqlite: bool) -> tuple[sa.Select[Any], Conditions]:
    """Ids in the page's order, and the conditions that are left."""
    rest = {name: condition for name, condition in _CONDITIONS.items() if name in given}
    if "among" in given:
        among = entries.c.id.in_(sa.bindparam("among", expanding=True))
        return _by_id(entries.c.id, given).where(among), list(rest.values())
    if "text" in given:
        column, found = words.matching(sa.bindparam("text", type_=sa.Text), sqlite=sqlite)
        return _by_id(column, given).where(found), list(rest.values())
    if "tag" in given:
        del rest["tag"]
        return _by_id(tags.c.entry_id, given).where(tags.c.tag == _TAG), list(rest.values())
    if _led_by_age(given):
        ages = [rest.pop(name) for name in ("newer_than", "older_than") if name in rest]
        return _by_age(given).where(*ages), list(rest.values())
    for name in ("namespace", "model"):
        if name in rest:
            led = rest.pop(name)
            return _by_id(entries.c.id, given).where(led), list(rest.values())
    return _by_id(entries.c.id, given), list(rest.values())


def _by_id(column: sa.ColumnElement[int], given: frozenset[str]) -> sa.Select[Any]:
    columns: tuple[sa.ColumnElement[Any], ...] = (sa.literal_column("0.0").label("sort"), column.label("id"))
    query = sa.select(*columns).order_by(column.desc())
    return query.where(column < _AFTER_ID) if "after_id" in given else query


def _by_age(given: frozenset[str]) -> sa.Select[Any]:
    query = sa.select(entries.c.created_at.label("sort"), entries.c.id.label("id"))
    query = query.order_by(entries.c.created_at.desc(), entries.c.id.desc())
    if "after_sort" not in given:
        return query
    return query.where(
        entries.c.created_at <= _AFTER_SORT,
        sa.or_(entries.c.created_at < _AFTER_SORT, entries.c.id < _AFTER_ID),
    )


def _columns(scanned: sa.CTE, by_age: bool) -> tuple[sa.ColumnElement[Any], ...]:
    return (scanned.c.sort, scanned.c.id) if by_age else (scanned.c.id,)


_AFTER_ID = sa.bindparam("after_id", type_=sa.BigInteger)
_AFTER_SORT = sa.bindparam("after_sort", type_=sa.Double)
_TAG = sa.bindparam("tag", type_=sa.Text)
_CONDITIONS: Mapping[str, sa.ColumnElement[bool]] = {
    **{name: entries.c[name] == sa.bindparam(name, type_=sa.Text) for name in ("namespace", "operation", "model")},
    "newer_than": entries.c.created_at >= sa.bindparam("newer_than", type_=sa.Double),
    "older_than": entries.c.created_at < sa.bindparam("older_than", type_=sa.Double),
    "tag": sa.exists().where(tags.c.entry_id == entries.c.id, tags.c.tag == _TAG),
}
"""What a row of `entries` must fulfil, by the filter's member; text leads wherever it is given."""

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
