"""Runs the migrations: on the connection the service hands over, or on `CACHE_SERVICE_DATABASE_URL` for developers."""

from __future__ import annotations

import asyncio
import os

import sqlalchemy as sa
from alembic import context

from cache_service.store.engine import Database
from cache_service.store.tables import metadata, of_full_text


def run(connection: sa.Connection) -> None:
    """Runs what was asked for inside the connection's transaction, so that all of it holds or none."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transactional_ddl=True,  # SQLite's too: the driver is told to begin nothing by itself
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
        include_name=lambda name, kind, parents: not of_full_text(name),
    )
    with context.begin_transaction():
        context.run_migrations()


async def run_on(url: str) -> None:
    """Opens the database for a developer's command."""
    database = Database(url, migrating=True)
    try:
        await database.write(lambda connection: connection.run_sync(run))
    finally:
        await database.aclose()


handed_over = context.config.attributes.get("connection")
if handed_over is not None:
    run(handed_over)
else:
    asyncio.run(run_on(os.environ.get("CACHE_SERVICE_DATABASE_URL", "sqlite:///data/cache.db")))
