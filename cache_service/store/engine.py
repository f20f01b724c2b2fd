"""Opens the database and runs work on it: readers that never wait for the writer, writes that can't be torn.

SQLite: WAL with synchronous=FULL; one writer thread with one connection, which takes writes in order of arrival, each in a transaction
that BEGINs IMMEDIATE; a few threads with read-only connections beside it. The write-ahead log is copied back by a statement of ours
instead of SQLite's own automatic checkpoint, because that one swallows a failed fsync of the database file.
PostgreSQL: READ COMMITTED with synchronous_commit, reads without a transaction.

Raised: `StoreError`; `StoreReadOnly` once a write or fsync has failed for good, and for every write after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from cache_service.errors import ConfigurationError, StoreCorrupt, StoreError, StoreReadOnly
from cache_service.store.sqlite import READING, WRITING, SqliteHere, SqliteThreads, driver_of, run_here

T = TypeVar("T")

READERS = 4
"""SQLite's threads for reading; reads are short, so a few serve thousands a second."""

OPERATORS = 2
"""Reads of operators at once, on SQLite in threads of their own: some take a tenth of a second, and hits must not stand behind them."""

POOL_SIZE = 10
POOL_TIMEOUT = 5.0
COMMAND_TIMEOUT = 60.0
"""PostgreSQL: connections, and seconds to wait for a free one and for a statement."""

ANSWER_WITHIN = 5.0
"""Seconds that a request waits for a read of PostgreSQL. One that hangs fails it: what was asked is generated, as with a database that is gone."""

ATTEMPTS = 5
"""How often a transaction is tried that lost a deadlock or a serialization conflict."""

WRITES_BETWEEN_CHECKPOINTS = 100
ROWS_BETWEEN_CHECKPOINTS = 4_000
"""Whichever comes first. About 2 MB of write-ahead log where writes are single stores, 8 MB in groups; SQLite's own default is 4 MB."""

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
    """A database and the ways to use it: `read` (operators: `look`) and `write`. Work waits for nothing but its connection."""

    def __init__(self, url: str, *, migrating: bool = False) -> None:
        self.url = database_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._failed: str | None = None
        self._writes_since, self._rows_at_last = 0, 0  # checkpoint
        self._writes: set[asyncio.Future[Any]] = set()
        if self.is_sqlite:
            writing = (*WRITING, f"foreign_keys={'OFF' if migrating else 'ON'}")
            self._writer = SqliteThreads(self.url, threads=1, pragmas=writing, name="sqlite-writer")
            self._readers = SqliteThreads(self.url, threads=READERS, pragmas=READING, name="sqlite-reader")
            self._lookers = SqliteThreads(self.url, threads=OPERATORS, pragmas=READING, name="sqlite-operator")
            self._here = SqliteHere(self.url)
        else:
            self._engine = _postgresql_engine(self.url)
            self._reading = self._engine.execution_options(isolation_level="AUTOCOMMIT")
            self._looking = asyncio.Semaphore(OPERATORS)

    @property
    def failed(self) -> str | None:
        """Why no write is tried any more; None while all is well."""
        return self._failed

    async def read(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Runs `work` outside a transaction; once more if the connection turned out to be dead."""
        with _reading_mapped():
            if self.is_sqlite:
                return await self._readers.run(partial(run_here, work))
            return await self._read_postgresql(work)

    async def answer(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """As `read`, for someone who waits: fails where PostgreSQL takes more than `ANSWER_WITHIN`."""
        if self.is_sqlite:
            return await self.read(work)
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                return await self.read(work)
        except TimeoutError:
            raise StoreError(f"the database didn't answer within {ANSWER_WITHIN:g} s") from None

    def glance(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T | None:
        """Runs `work` of microseconds at once, on the loop. None where only `answer` can tell: on PostgreSQL, or where that was slow lately."""
        return self._here.read(work) if self.is_sqlite else None

    async def look(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """As `read`, for operators and upkeep: `OPERATORS` at once, so that what is slow there takes no connection from a hit."""
        with _reading_mapped():
            if self.is_sqlite:
                return await self._lookers.run(partial(run_here, work))
            async with self._looking:
                return await self._read_postgresql(work)

    async def write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Runs `work` in one durable transaction, to its end even if the caller is cancelled meanwhile.

        `work` may run several times (after a lost deadlock), each time on a database that shows nothing of the last.
        """
        writing: asyncio.Future[T]
        if self.is_sqlite:
            writing = self._writer.run(partial(self._write_sqlite, work))
        else:
            writing = asyncio.ensure_future(self._write_postgresql(work))
        self._writes.add(writing)
        writing.add_done_callback(self._forget)
        return await asyncio.shield(writing)

    async def aclose(self) -> None:
        """Waits for the writes under way and closes every connection; idempotent."""
        await asyncio.gather(*self._writes, return_exceptions=True)
        if self.is_sqlite:
            self._here.close()
            await asyncio.to_thread(self._lookers.close)
            await asyncio.to_thread(self._readers.close)
            await asyncio.to_thread(self._writer.close)  # last: the one that may write to the file tidies up
        else:
            await self._engine.dispose()

    def _write_sqlite(self, work: Callable[[AsyncConnection], Awaitable[T]], connection: sa.Connection) -> T:
        """In the writer's thread, so that what fails for good is known before the next write begins."""
        if self._failed is not None:
            raise StoreReadOnly(self._failed)
        try:
            with connection.begin():
                result = run_here(work, connection)
        except Abandoned as abandoned:
            return abandoned.result  # type: ignore[no-any-return] # what `work` raised it with
        except DRIVER_ERRORS as exc:
            raise self._writing_failed(exc) from exc
        self._writes_since += 1
        rows = driver_of(connection).total_changes - self._rows_at_last
        if self._writes_since >= WRITES_BETWEEN_CHECKPOINTS or rows >= ROWS_BETWEEN_CHECKPOINTS:
            self._writer.then(self._checkpoint)  # whoever waits for this write doesn't wait for it
        return result

    def _checkpoint(self, connection: sa.Connection) -> None:
        """Copies the write-ahead log back. What was committed is safe if that fails, what comes may not be."""
        driver = driver_of(connection)
        self._writes_since, self._rows_at_last = 0, driver.total_changes
        try:
            driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except DRIVER_ERRORS as exc:
            self._writing_failed(exc)

    async def _read_postgresql(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        try:
            async with self._reading.connect() as connection:
                return await work(connection)
        except sa.exc.DBAPIError as exc:
            if not exc.connection_invalidated:
                raise
            async with self._reading.connect() as connection:
                return await work(connection)

    async def _write_postgresql(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        for attempt in range(1, ATTEMPTS + 1):
            if self._failed is not None:
                raise StoreReadOnly(self._failed)
            committing = False
            try:
                async with self._engine.connect() as connection, connection.begin():
                    result = await work(connection)
                    committing = True  # from here on it may have happened, and must not be done twice
            except Abandoned as abandoned:
                return abandoned.result  # type: ignore[no-any-return] # what `work` raised it with
            except DRIVER_ERRORS as exc:
                if attempt < ATTEMPTS and not committing and _worth_another_try(exc):
                    continue
                raise self._writing_failed(exc) from exc
            else:
                return result
        raise AssertionError("the last attempt returns or raises")

    def _writing_failed(self, exc: BaseException) -> StoreError:
        """The error to raise; remembers it where nothing may be written any more."""
        code = _code(exc)
        if code.startswith(_FINAL) and not code.startswith(_NOT_FINAL):
            self._failed = f"writing to the database failed for good ({code}); restart once the disk is well"
            return StoreReadOnly(self._failed)
        return StoreError(f"writing to the database failed: {_reason(exc)}")

    def _forget(self, writing: asyncio.Future[Any]) -> None:
        self._writes.discard(writing)
        if not writing.cancelled():
            writing.exception()  # seen: the caller may be gone


@contextlib.contextmanager
def _reading_mapped() -> Iterator[None]:
    """The drivers' errors of a read as ours."""
    try:
        yield
    except DRIVER_ERRORS as exc:
        kind = StoreCorrupt if _code(exc) in _CORRUPT else StoreError
        raise kind(f"reading the database failed: {_reason(exc)}") from exc
    except UnicodeDecodeError as exc:  # the driver's own, of a text that is damaged
        raise StoreCorrupt("reading the database failed: a text in it is no UTF-8") from exc


def database_url(url: str) -> sa.URL:
    """The URL with our driver filled in. Raises ConfigurationError for another database or one in memory."""
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError as exc:
        raise ConfigurationError("database_url is no URL; expected sqlite:///… or postgresql://…") from exc
    drivers = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
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
