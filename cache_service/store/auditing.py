"""The audit log: what operators did, filed in the transaction that did it."""

from __future__ import annotations

from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cache_service.store.records import Act, AuditRecord
from cache_service.store.rows import json_from
from cache_service.store.tables import audit


async def file(connection: AsyncConnection, act: Act | None, *, count: int, at: float) -> None:
    """Adds the act; nothing where there is none to add (the service itself did it, or a client)."""
    if act is None:
        return
    row: dict[str, Any] = {
        "at": at,
        "who": act.who,
        "action": act.action,
        "what": orjson.dumps(dict(act.what)).decode(),
        "affected": count,
    }
    await connection.execute(sa.insert(audit), row)


async def newest(connection: AsyncConnection, before: int | None, limit: int) -> list[AuditRecord]:
    """A page, newest first."""
    query = sa.select(audit).order_by(audit.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(audit.c.id < before)
    return [
        AuditRecord(row.id, row.at, row.who, row.action, json_from(row.what), row.affected)
        for row in await connection.execute(query)
    ]
