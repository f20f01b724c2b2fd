"""Migrations: from nothing to the tables, all or nothing, and never over a newer schema."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncConnection

from cache_service.errors import ConfigurationError, SchemaMismatch
from cache_service.store import migrations, sqlite
from cache_service.store.engine import Database, create_private_file
from cache_service.store.migrations import alembic_config, migrate
from cache_service.store.rows import entry_values, output_values
from cache_service.store.sql import open_store
from cache_service.store.tables import REVISION, entries, metadata, of_full_text, outputs
from tests.fakes.databases import MakeDatabase
from tests.fakes.entries import new_entry

OPTIONS = {"compare_type": True, "include_name": lambda name, kind, parents: not of_full_text(name)}
FIRST = new_entry("cat", vector=None)
FIRST_ENTRY = {"id": 1, **entry_values(FIRST)}
FIRST_OUTPUT = {name: value for name, value in output_values(1, 0, FIRST.outputs[0]).items() if name != "usd"}
"""As the first release wrote it: a later one added what it cost."""


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that was never migrated."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new' / 'cache.db'}"
    url: str = request.getfixturevalue("make_postgresql")(template="template0")
    return url


@pytest.fixture
async def database(empty_url: str) -> AsyncIterator[Database]:
    await migrate(empty_url)
    opened = Database(empty_url)
    yield opened
    await opened.aclose()


async def test_migrated_is_what_the_tables_say(database: Database) -> None:
    """Autogenerate finds no difference in tables, columns, types, indexes and constraints."""

    def difference(connection: sa.Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection, opts=OPTIONS), metadata))

    assert await database.read(lambda c: c.run_sync(difference)) == []


async def test_every_constraint_has_its_name(database: Database) -> None:
    """A constraint without a name can't be changed by a later migration."""

    def names(connection: sa.Connection) -> set[str | None]:
        found: set[str | None] = set()
        inspector = sa.inspect(connection)
        for table in metadata.tables:
            if table != "entries" or connection.dialect.name != "sqlite":  # an AUTOINCREMENT key takes no name
                found.add(inspector.get_pk_constraint(table)["name"])
            for constraints in (
                inspector.get_unique_constraints(table),
                inspector.get_foreign_keys(table),
                inspector.get_check_constraints(table),
            ):
                found.update(constraint["name"] for constraint in constraints)
        return found | {"pk_entries"}

    expected = {str(c.name) for table in metadata.tables.values() for c in table.constraints}
    assert await database.read(lambda c: c.run_sync(names)) == expected


async def test_migrating_twice_changes_nothing(empty_url: str) -> None:
    await migrate(empty_url)
    store = await open_store(empty_url)
    before = await store.position()
    await migrate(empty_url)
    assert await store.position() == before
    await store.aclose()


async def test_a_database_of_the_first_release_is_brought_up_with_all_that_is_in_it(empty_url: str) -> None:
    """Entries, numbers and the epoch stay; hits and feedback begin empty."""
    opened = Database(empty_url, migrating=True)
    if opened.is_sqlite:
        create_private_file(Path(opened.url.database or ""))

    def to_first(connection: sa.Connection) -> None:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")

    await opened.write(lambda c: c.run_sync(to_first))
    await opened.write(lambda c: c.execute(sa.insert(entries), [FIRST_ENTRY]))
    await opened.write(lambda c: c.execute(sa.insert(outputs), [FIRST_OUTPUT]))
    await opened.write(lambda c: c.exec_driver_sql("UPDATE counter SET number = 7, epoch = 'kept'"))
    await opened.aclose()
    with pytest.raises(SchemaMismatch, match=r"0001.*migrate it first"):
        await open_store(empty_url)
    await migrate(empty_url)
    store = await open_store(empty_url)
    found = await store.find(FIRST.exact_key, embedding_model="m")
    assert found is not None
    assert (found.prompt, found.outputs) == (FIRST.prompt, FIRST.outputs)
    feed = await store.position()
    assert (feed.number, feed.epoch) == (7, "kept")
    assert await store.feedback_after(0) == []
    assert await store.check(fix=False) == []
    await store.aclose()


async def test_nodes_that_start_together_migrate_once(empty_url: str) -> None:
    await asyncio.gather(*[migrate(empty_url) for _ in range(3)])
    store = await open_store(empty_url)
    assert (await store.position()).number == 0
    await store.aclose()


async def test_a_new_file_that_another_node_is_at_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite itself gives up at once where a file is turned to WAL while somebody else writes."""
    path = tmp_path / "cache.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE others (id INTEGER)")
    other.execute("BEGIN IMMEDIATE")
    waited: list[float] = []

    def until_the_other_is_done(seconds: float) -> None:
        waited.append(seconds)
        other.rollback()
        other.close()

    monkeypatch.setattr(sqlite.time, "sleep", until_the_other_is_done)
    await migrate(f"sqlite:///{path}")
    assert len(waited) == 1


async def test_a_newer_schema_is_refused_and_told_what_to_do(database: Database, empty_url: str) -> None:
    await database.write(lambda c: c.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'"))
    for attempt in (migrate, open_store):
        with pytest.raises(SchemaMismatch, match=r"9999.*newer release.*backup"):
            await attempt(empty_url)


async def test_a_database_that_was_never_migrated_is_refused(empty_url: str) -> None:
    with pytest.raises(SchemaMismatch, match="migrate it first"):
        await open_store(empty_url)


async def test_a_migration_that_fails_leaves_nothing(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one whose process is killed: it is one transaction, on SQLite too."""

    def tables_then_trouble(connection: sa.Connection) -> None:
        metadata.create_all(connection)
        raise RuntimeError

    monkeypatch.setattr(migrations, "_run_scripts", tables_then_trouble)
    with pytest.raises(RuntimeError):
        await migrate(empty_url)
    opened = Database(empty_url)
    assert await opened.read(_table_names) == []
    await opened.aclose()
    monkeypatch.undo()
    await migrate(empty_url)


async def test_two_databases_have_different_epochs(make_database: MakeDatabase, empty_url: str) -> None:
    await migrate(empty_url)
    stores = [await open_store(empty_url), await open_store(make_database())]
    epochs = {(await store.position()).epoch for store in stores}
    assert len(epochs) == 2
    for store in stores:
        await store.aclose()


async def test_a_new_sqlite_file_is_for_its_owner_only(tmp_path: Path) -> None:
    await migrate(f"sqlite:///{tmp_path / 'new' / 'cache.db'}")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in _below(tmp_path)}
    assert modes == {"new": 0o700, "cache.db": 0o600}


def test_the_program_expects_the_newest_revision() -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_heads() == [REVISION]


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "sqlite:///:memory:", "no url", ""])
async def test_a_database_that_cannot_serve_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError):
        await open_store(url)


async def _table_names(connection: AsyncConnection) -> list[str]:
    return await connection.run_sync(lambda c: sa.inspect(c).get_table_names())


def _below(folder: Path) -> list[Path]:
    return list(folder.rglob("*"))
