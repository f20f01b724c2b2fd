"""Fixtures that several folders of tests share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.fakes.databases import MakeDatabase, postgresql_databases, sqlite_databases

settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def make_sqlite() -> Iterator[MakeDatabase]:
    """Gives URLs of fresh SQLite databases, in memory where the system has a folder there: every store waits for its disk."""
    memory = Path("/dev/shm")  # noqa: S108 # a folder of our own in it
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder,
        sqlite_databases(Path(folder)) as make,
    ):
        yield make


@pytest.fixture(scope="session")
def make_postgresql() -> Iterator[MakeDatabase]:
    """Gives URLs of fresh PostgreSQL databases; the server starts with the first test that asks."""
    with postgresql_databases() as make:
        yield make


@pytest.fixture(params=["sqlite", "postgresql"])
def make_database(request: pytest.FixtureRequest) -> MakeDatabase:
    """Runs the test on every database that is supported."""
    make: MakeDatabase = request.getfixturevalue(f"make_{request.param}")
    return make


settings.register_profile("no time limits", deadline=None)  # a loaded machine is slow, not wrong
settings.load_profile("no time limits")
