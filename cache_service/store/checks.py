"""Looks for rows that contradict each other, and mends what can be mended: by taking it out, never by guessing.

Every row that is served has a checksum, so "isn't what was written" covers flipped bits in any of its columns.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cache_service.errors import StoreCorrupt
from cache_service.store import feed, reading, removal, words
from cache_service.store.base import ChangeKind, Problem
from cache_service.store.rows import Row, predicate_from_text, vector_from
from cache_service.store.tables import LIVE, changes, counter, entries, feedback, outputs, purges, tags, vectors

PAGE = 500
"""Entries read at once."""

UNIT = 1e-3
"""How far a vector's length may be from 1; float32 rounding of 384 squares stays below 1e-5."""

Mend: TypeAlias = Callable[[AsyncConnection, float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem and how to mend it, None where a person must decide."""

    problem: Problem
    mend: Mend | None


async def find(connection: AsyncConnection) -> list[Finding]:
    """Everything that is wrong; changes nothing."""
    return [
        *await _database_itself(connection),
        *await _feed(connection),  # before the others: mending those takes numbers
        *await _orphans(connection),
        *await _entries(connection),
        *await _vectors(connection),
        *await _words(connection),
    ]


async def mend(connection: AsyncConnection, findings: list[Finding], *, at: float) -> list[Problem]:
    """Mends what can be mended; the problems, with `fixed` where they are."""
    await feed.lock(connection)
    problems = []
    for finding in findings:
        if finding.mend is not None:
            await finding.mend(connection, at)
        problems.append(replace(finding.problem, fixed=finding.mend is not None))
    return problems


async def _database_itself(connection: AsyncConnection) -> list[Finding]:
    """SQLite's own check of pages and indexes. PostgreSQL watches its own."""
    if connection.dialect.name != "sqlite":
        return []
    lines = (await connection.exec_driver_sql("PRAGMA integrity_check")).scalars().all()
    return [Finding(Problem("integrity", line), None) for line in lines if line != "ok"]


async def _words(connection: AsyncConnection) -> list[Finding]:
    if not await words.differs(connection):
        return []
    return [Finding(Problem("words-differ", "the index of words holds other entries than there are"), _words_anew)]


async def _words_anew(connection: AsyncConnection, _at: float) -> None:
    await words.mend(connection)


async def _orphans(connection: AsyncConnection) -> list[Finding]:
    findings = []
    for kind, table in (("output", outputs), ("vector", vectors), ("tag", tags)):
        orphan = ~sa.exists().where(entries.c.id == table.c.entry_id)
        count = (await connection.execute(sa.select(sa.func.count()).select_from(table).where(orphan))).scalar_one()
        if count:
            findings.append(Finding(Problem(f"{kind}-without-entry", f"{count} rows"), _delete_rows(table, orphan)))
    return findings


async def _entries(connection: AsyncConnection) -> list[Finding]:
    """Live entries that can't be read as they were written; those without outputs."""
    findings = []
    after = 0
    while ids := await _ids_after(connection, after):
        after = ids[-1]
        held = sa.select(outputs.c.entry_id).where(outputs.c.entry_id.in_(ids))
        with_outputs = set((await connection.execute(held)).scalars())
        findings += [
            Finding(Problem("entry-without-outputs", f"entry {entry_id}"), _delete_entry(entry_id))
            for entry_id in ids
            if entry_id not in with_outputs
        ]
        found = await reading.by_ids(connection, sorted(with_outputs), "")
        for entry_id in found.corrupt:
            problem = Problem("entry-damaged", f"entry {entry_id} or its outputs aren't what was written")
            findings.append(Finding(problem, _quarantine(entry_id)))
    return findings


async def _vectors(connection: AsyncConnection) -> list[Finding]:
    """Vectors that aren't what was written, of another length than their model's others, or not of unit length."""
    findings = []
    lengths: dict[str, Counter[int]] = {}
    bytes_held = sa.func.length(vectors.c.vector)
    statement = sa.select(vectors.c.model_id, bytes_held, sa.func.count()).group_by(vectors.c.model_id, bytes_held)
    for model_id, length, count in await connection.execute(statement):
        lengths.setdefault(model_id, Counter())[length] = count
    after = 0
    while ids := await _ids_after(connection, after, state=None):
        after = ids[-1]
        page = sa.select(vectors).where(vectors.c.entry_id.in_(ids)).order_by(vectors.c.entry_id)
        for row in await connection.execute(page):
            wrong = _wrong_with(row, usual=lengths[row.model_id].most_common(1)[0][0])
            if wrong is not None:
                kind, detail = wrong
                problem = Problem(kind, f"entry {row.entry_id}, model {row.model_id}: {detail}")
                findings.append(Finding(problem, _delete_vector(row.entry_id, row.model_id)))
    return findings


def _wrong_with(row: Row, *, usual: int) -> tuple[str, str] | None:
    try:
        if len(row.vector) != usual or usual % 4:
            return "vector-length", f"{len(row.vector)} bytes, usual are {usual}"
        norm = float(np.linalg.norm(vector_from(row)))
    except StoreCorrupt:
        return "vector-damaged", "isn't what was written"
    if not abs(norm - 1.0) <= UNIT:  # also NaN
        return "vector-not-unit", f"length {norm:.4f}"
    return None


async def _feed(connection: AsyncConnection) -> list[Finding]:
    """The counter against what it has numbered, holes, and purges that can't be read."""
    findings = []
    position = await feed.position(connection)
    newest_change, kept, newest_purge, newest_feedback, newest_undone = (
        await connection.execute(
            sa.select(
                sa.select(sa.func.max(changes.c.number)).scalar_subquery(),
                sa.select(sa.func.count()).select_from(changes).scalar_subquery(),
                sa.select(sa.func.max(purges.c.number)).scalar_subquery(),
                sa.select(sa.func.max(feedback.c.number)).scalar_subquery(),
                sa.select(sa.func.max(feedback.c.undone)).scalar_subquery(),
            )
        )
    ).one()
    newest = max(number or 0 for number in (newest_change, newest_purge, newest_feedback, newest_undone))
    if position.number < newest:
        problem = Problem("counter-behind", f"counter {position.number}, newest number {newest}")
        findings.append(Finding(problem, _set_counter(newest)))
    if kept and kept != newest_change - position.oldest + 1:
        problem = Problem("feed-gap", f"{kept} changes from {position.oldest} to {newest_change}")
        findings.append(Finding(problem, _new_feed))
    for number, predicate in await connection.execute(sa.select(purges.c.number, purges.c.predicate)):
        try:
            predicate_from_text(predicate)
        except StoreCorrupt:
            findings.append(Finding(Problem("purge-damaged", f"purge {number}"), _forget_purges_to(number)))
    return findings


async def _ids_after(connection: AsyncConnection, after: int, state: str | None = LIVE) -> list[int]:
    statement = sa.select(entries.c.id).where(entries.c.id > after).order_by(entries.c.id).limit(PAGE)
    if state is not None:
        statement = statement.where(entries.c.state == state)
    return list((await connection.execute(statement)).scalars())


def _delete_rows(table: sa.Table, condition: sa.ColumnElement[bool]) -> Mend:
    async def run(connection: AsyncConnection, _at: float) -> None:
        await connection.execute(sa.delete(table).where(condition))

    return run


def _delete_entry(entry_id: int) -> Mend:
    async def run(connection: AsyncConnection, at: float) -> None:
        await removal.delete(connection, [entry_id])
        await _report(connection, ChangeKind.PURGED, entry_id, at)

    return run


def _quarantine(entry_id: int) -> Mend:
    async def run(connection: AsyncConnection, at: float) -> None:
        await removal.quarantine(connection, [entry_id], at=at)

    return run


def _delete_vector(entry_id: int, model_id: str) -> Mend:
    async def run(connection: AsyncConnection, at: float) -> None:
        gone = (vectors.c.entry_id == entry_id) & (vectors.c.model_id == model_id)
        await connection.execute(sa.delete(vectors).where(gone))
        await _report(connection, ChangeKind.RE_EMBEDDED, entry_id, at)

    return run


def _set_counter(number: int) -> Mend:
    async def run(connection: AsyncConnection, _at: float) -> None:
        await connection.execute(sa.update(counter).values(number=number))

    return run


async def _new_feed(connection: AsyncConnection, _at: float) -> None:
    """Followers can't trust the old rows: another epoch makes them rebuild."""
    await connection.execute(sa.delete(changes))
    await connection.execute(sa.update(counter).values(epoch=secrets.token_hex(16)))


def _forget_purges_to(number: int) -> Mend:
    """Treats it like one that is no longer kept: whatever began before it isn't stored."""

    async def run(connection: AsyncConnection, _at: float) -> None:
        await connection.execute(sa.delete(purges).where(purges.c.number == number))
        raised = sa.case((counter.c.trimmed < number, number), else_=counter.c.trimmed)
        await connection.execute(sa.update(counter).values(trimmed=raised))

    return run


async def _report(connection: AsyncConnection, kind: ChangeKind, entry_id: int, at: float) -> None:
    taken = await feed.take(connection, 1)
    await feed.report(connection, kind, [entry_id], taken.first, at=at)
