"""Opens the database and runs work on it: readers that never wait for the writer, writes that can't be torn.

SQLite: WAL with synchronous=FULL; one writer connection, taken in order of arrival, whose transactions BEGIN IMMEDIATE;
a few read-only connections beside it. The write-ahead log is copied back by a statement of ours instead of SQLite's own
automatic checkpoint, because that one swallows a failed fsync of the database file.
PostgreSQL: READ COMMITTED with synchronous_commit, reads without a transaction.

Raised: `StoreError`; `StoreReadOnly` once a write or fsync has failed for good, and for every write after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from cache_service.errors import ConfigurationError, StoreCorrupt, StoreError, StoreReadOnly

T = TypeVar("T")

READERS = 4
"""SQLite connections for reading; reads are short, so a few serve thousands a second."""

BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process that writes to the same SQLite file."""

POOL_SIZE = 10
POOL_TIMEOUT = 5.0
COMMAND_TIMEOUT = 60.0
"""PostgreSQL: connections, and seconds to wait for a free one and for a statement."""

ATTEMPTS = 5
"""How often a transaction is tried that lost a deadlock or a serialization conflict."""

WRITES_BETWEEN_CHECKPOINTS = 100
"""About 2 MB of write-ahead log; SQLite's own default is 1,000 pages, 4 MB."""

_RETRYABLE = {"40001", "40P01"}  # serialization_failure, deadlock_detected
_FINAL = ("SQLITE_IOERR", "SQLITE_READONLY")
_NOT_FINAL = ("SQLITE_IOERR_SHMSIZE", "SQLITE_IOERR_NOMEM", "SQLITE_IOERR_LOCK", "SQLITE_IOERR_BLOCKED")
_CORRUPT = {"SQLITE_CORRUPT", "SQLITE_CORRUPT_INDEX", "SQLITE_CORRUPT_VTAB", "SQLITE_NOTADB"}
DRIVER_ERRORS = (sa.exc.SQLAlchemyError, sqlite3.Error, OSError, ArithmeticError)


class Abandoned(Exception):
    """Raised by work inside a write: roll back, and let `write` return `result`."""

    def __init__(self, result: Any) -> None:
        super().__init__()
        self.result = result


class Database:
    """A database and the two ways to use it: `read` and `write`."""

    def __init__(self, url: str, *, migrating: bool = False) -> None:
        self.url = database_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._writes: set[asyncio.Task[Any]] = set()
        self._failed: str | None = None
        self._since_checkpoint = 0
        if self.is_sqlite:
            self._turn: contextlib.AbstractAsyncContextManager[Any] = asyncio.Lock()
            self._writer = _sqlite_engine(self.url, pool_size=1, reading=False, foreign_keys=not migrating)
            self._reader = _sqlite_engine(self.url, pool_size=READERS, reading=True, foreign_keys=True)
        else:
            self._turn = contextlib.nullcontext()
            self._writer = _postgresql_engine(self.url)
            self._reader = self._writer.execution_options(isolation_level="AUTOCOMMIT")

    @property
    def failed(self) -> str | None:
        """Why no write is tried any more; None while all is well."""
        return self._failed

    async def read(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Runs `work` outside a transaction; once more if the connection turned out to be dead."""
        try:
            try:
                async with self._reader.connect() as connection:
                    return await work(connection)
            except sa.exc.DBAPIError as exc:
                if not exc.connection_invalidated:
                    raise
                async with self._reader.connect() as connection:
                    return await work(connection)
        except DRIVER_ERRORS as exc:
            kind = StoreCorrupt if _code(exc) in _CORRUPT else StoreError
            raise kind(f"reading the database failed: {_reason(exc)}") from exc
        except UnicodeDecodeError as exc:  # the driver's own, of a text that is damaged
            raise StoreCorrupt("reading the database failed: a text in it is no UTF-8") from exc

    async def write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Runs `work` in one durable transaction, to its end even if the caller is cancelled meanwhile.

        `work` may run several times (after a lost deadlock), each time on a database that shows nothing of the last.
        """
        task = asyncio.ensure_future(self._write(work))
        self._writes.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """Waits for the writes under way and closes every connection; idempotent."""
        await asyncio.gather(*self._writes, return_exceptions=True)
        await self._reader.dispose()
        await self._writer.dispose()

    async def _write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        for attempt in range(1, ATTEMPTS + 1):
            if self._failed is not None:
                raise StoreReadOnly(self._failed)
            committing = False
            try:
                async with self._turn, self._writer.connect() as connection:
                    async with connection.begin():
                        result = await work(connection)
                        committing = True  # from here on it may have happened, and must not be done twice
                    await self._checkpoint(connection)
                    return result
            except Abandoned as abandoned:
                return abandoned.result  # type: ignore[no-any-return] # what `work` raised it with
            except DRIVER_ERRORS as exc:
                if attempt < ATTEMPTS and not committing and _worth_another_try(exc):
                    continue
                raise self._writing_failed(exc) from exc
        raise AssertionError("the last attempt returns or raises")

    async def _checkpoint(self, connection: AsyncConnection) -> None:
        """Copies the write-ahead log back now and then. What was committed is safe if that fails, what comes may not be."""
        self._since_checkpoint += 1
        if not self.is_sqlite or self._since_checkpoint < WRITES_BETWEEN_CHECKPOINTS:
            return
        self._since_checkpoint = 0
        try:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            await driver.execute_fetchall("PRAGMA wal_checkpoint(PASSIVE)")
        except DRIVER_ERRORS as exc:
            self._writing_failed(exc)

    def _writing_failed(self, exc: BaseException) -> StoreError:
        """The error to raise; remembers it where nothing may be written any more."""
        code = _code(exc)
        if code.startswith(_FINAL) and not code.startswith(_NOT_FINAL):
            self._failed = f"writing to the database failed for good ({code}); restart once the disk is well"
            return StoreReadOnly(self._failed)
        return StoreError(f"writing to the database failed: {_reason(exc)}")

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._writes.discard(task)
        if not task.cancelled():
            task.exception()  # seen: the caller may be gone


def database_url(url: str) -> sa.URL:
    """The URL with the async driver filled in. Raises ConfigurationError for another database or one in memory."""
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as exc:
        raise ConfigurationError("database_url is no URL; expected sqlite:///… or postgresql://…") from exc
    drivers = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
    backend = parsed.drivername.split("+")[0]
    if backend not in drivers:
        raise ConfigurationError(f"database_url: {backend} isn't supported; expected sqlite:///… or postgresql://…")
    if backend == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise ConfigurationError("database_url: SQLite needs a file, what is stored must survive a restart")
    return parsed.set(drivername=drivers[backend])


def create_private_file(path: Path) -> None:
    """Makes an empty database file, durable and for its owner only; SQLite's side files inherit its mode."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        return
    for folder in (path.parent, path.parent.parent):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _sqlite_engine(url: sa.URL, *, pool_size: int, reading: bool, foreign_keys: bool) -> AsyncEngine:
    engine = create_async_engine(
        url, pool_size=pool_size, max_overflow=0, pool_timeout=POOL_TIMEOUT,
        connect_args={"timeout": BUSY_TIMEOUT},
        hide_parameters=True,  # they hold prompts, and an error may reach a log
    )  # fmt: skip
    pragmas = ["query_only=ON"] if reading else ["journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=0"]
    pragmas.append(f"foreign_keys={'ON' if foreign_keys else 'OFF'}")

    @sa.event.listens_for(engine.sync_engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself
        connection.driver_connection.text_factory = _text
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    if not reading:

        @sa.event.listens_for(engine.sync_engine, "begin")
        def begun(connection: sa.Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _postgresql_engine(url: sa.URL) -> AsyncEngine:
    return create_async_engine(
        url, pool_size=POOL_SIZE, max_overflow=0, pool_timeout=POOL_TIMEOUT, isolation_level="READ COMMITTED",
        hide_parameters=True,
        connect_args={
            "timeout": POOL_TIMEOUT,
            "command_timeout": COMMAND_TIMEOUT,
            "server_settings": {"synchronous_commit": "on", "application_name": "cache-service"},
        },
    )  # fmt: skip


def _text(value: bytes) -> str:
    """Text as stored; bytes that a fault has made invalid survive as surrogates, which no checksum accepts."""
    return value.decode("utf-8", "surrogateescape")


def _worth_another_try(exc: BaseException) -> bool:
    """Whether nothing was committed and the same work may succeed now."""
    if not isinstance(exc, sa.exc.DBAPIError):
        return False
    return exc.connection_invalidated or getattr(exc.orig, "sqlstate", None) in _RETRYABLE


def _code(exc: BaseException) -> str:
    """SQLite's name of the error, "" for any other."""
    return getattr(getattr(exc, "orig", exc), "sqlite_errorname", "")


def _reason(exc: BaseException) -> str:
    """The driver's words, without the statement and its parameters: those hold prompts."""
    return str(getattr(exc, "orig", None) or exc).splitlines()[0] if str(exc) else type(exc).__name__
