"""Keys that operators make, as SQL. Of a key only the digest is kept; a revoked one stays on record."""

from __future__ import annotations

from dataclasses import asdict

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cache_service.store import auditing
from cache_service.store.records import Act, NewKey, StoredKey
from cache_service.store.rows import Row
from cache_service.store.tables import client_keys


async def add(connection: AsyncConnection, new: NewKey, by: Act, *, at: float) -> StoredKey:
    """The row, and its line in the audit log."""
    row = {**asdict(new), "created_at": at, "created_by": by.who, "revoked_at": None}
    statement = sa.insert(client_keys).values(row).returning(client_keys)
    stored = _key((await connection.execute(statement)).one())
    await auditing.file(connection, by, count=1, at=at)
    return stored


async def revoke(connection: AsyncConnection, key_id: int, by: Act, *, at: float) -> StoredKey | None:
    """Revoked twice is revoked once."""
    live = sa.and_(client_keys.c.id == key_id, client_keys.c.revoked_at.is_(None))
    changed = await connection.execute(sa.update(client_keys).where(live).values(revoked_at=at))
    row = (await connection.execute(sa.select(client_keys).where(client_keys.c.id == key_id))).one_or_none()
    if row is None:
        return None
    if changed.rowcount:
        await auditing.file(connection, by, count=1, at=at)
    return _key(row)


async def live(connection: AsyncConnection) -> list[StoredKey]:
    """Those that open something, in the order in which they were made."""
    query = sa.select(client_keys).where(client_keys.c.revoked_at.is_(None)).order_by(client_keys.c.id)
    return [_key(row) for row in await connection.execute(query)]


async def newest(connection: AsyncConnection, before: int | None, limit: int) -> list[StoredKey]:
    """A page of all, newest first."""
    query = sa.select(client_keys).order_by(client_keys.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(client_keys.c.id < before)
    return [_key(row) for row in await connection.execute(query)]


async def ever(connection: AsyncConnection) -> bool:
    """Whether a client's key was ever made."""
    query = sa.select(sa.exists().where(client_keys.c.role == "client"))
    return bool((await connection.execute(query)).scalar_one())


def _key(row: Row) -> StoredKey:
    return StoredKey(
        id=row.id, name=row.name, namespace=row.namespace, role=row.role, digest=row.digest, usd_per_day=row.usd_per_day,
        created_at=row.created_at, created_by=row.created_by, revoked_at=row.revoked_at,
    )  # fmt: skip
