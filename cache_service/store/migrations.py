"""Brings a database to this program's schema with Alembic, and refuses one that isn't there.

A migration is one transaction, on SQLite too: a process killed in it leaves the old schema. The scripts lie in `alembic/`
beside the package in a checkout and in `cache_service/_alembic` when installed.

Raised: `SchemaMismatch`, `StoreError`.
"""

from __future__ import annotations

import asyncio
from importlib import resources
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncConnection

from cache_service.errors import SchemaMismatch, StoreError
from cache_service.store import feed
from cache_service.store.engine import Database, create_private_file
from cache_service.store.tables import REVISION

MIGRATION_LOCK = 0x6361636865  # "cache": PostgreSQL's advisory lock, so that two nodes that start migrate one by one

_ALEMBIC_VERSION = sa.table("alembic_version", sa.column("version_num"))


async def migrate(url: str) -> None:
    """Makes the database if it is a file that isn't there, and brings its schema up to date. Durable.

    Raises SchemaMismatch if a newer release has migrated it already.
    """
    database = Database(url, migrating=True)
    try:
        if database.is_sqlite:
            await asyncio.to_thread(create_private_file, Path(database.url.database or ""))
        await database.write(_upgrade)
    finally:
        await database.aclose()


async def renew_epoch(url: str) -> None:
    """Says that this is another database than the one it was copied from; brings it to this program's schema first. Durable.

    Raises SchemaMismatch if the copy is of a newer release.
    """
    await migrate(url)
    database = Database(url)
    try:
        await database.write(feed.renew_epoch)
    finally:
        await database.aclose()


async def require_current(database: Database) -> None:
    """Raises SchemaMismatch unless the database has this program's schema."""
    if database.is_sqlite and not await asyncio.to_thread(Path(database.url.database or "").exists):
        raise SchemaMismatch("the database doesn't exist yet: migrate it first")
    found = await database.read(_revision)
    if found != REVISION:
        _refuse_newer(found)
        raise SchemaMismatch(
            f"the database's schema is {found or 'empty'}, this program's is {REVISION}: migrate it first"
        )


def script_location() -> Path:
    """The folder of the migration scripts."""
    package = Path(str(resources.files("cache_service")))
    for folder in (package / "_alembic", package.parent / "alembic"):
        if (folder / "env.py").is_file():
            return folder
    raise StoreError("the migration scripts are missing from this installation")


def alembic_config() -> Config:
    """Alembic's configuration without a file."""
    config = Config()
    config.set_main_option("script_location", str(script_location()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


async def _upgrade(connection: AsyncConnection) -> None:
    if connection.dialect.name == "postgresql":
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(MIGRATION_LOCK)))
    found = await _revision(connection)
    if found == REVISION:
        return
    _refuse_newer(found)
    await connection.run_sync(_run_scripts)


def _run_scripts(connection: sa.Connection) -> None:
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


async def _revision(connection: AsyncConnection) -> str | None:
    """The schema's revision, None for a database that has none."""
    if not await connection.run_sync(lambda c: sa.inspect(c).has_table("alembic_version")):
        return None
    revision = (await connection.execute(sa.select(_ALEMBIC_VERSION.c.version_num))).scalar_one_or_none()
    return None if revision is None else str(revision)


def _refuse_newer(found: str | None) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()}
    if found is not None and found not in known:
        raise SchemaMismatch(
            f"the database's schema is {found}, which this program (made for {REVISION}) doesn't know: a newer release "
            "has migrated it. Install that release again, or restore a backup made before the upgrade."
        )
