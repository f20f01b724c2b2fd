"""SQLite in threads that hold a connection each: a whole piece of work is one hop to a thread and back.

Work is a coroutine, written once for SQLAlchemy's `AsyncConnection`, which PostgreSQL gives it. Here its connection answers at once, so the
thread runs the coroutine from its first line to its last without a loop. (SQLAlchemy's own way to asyncio, over aiosqlite, switches greenlets
and hops to a thread for every statement, fetch, begin and commit; `docs/design/performance.md` has the figures.)
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

T = TypeVar("T")

BUSY_TIMEOUT = 10.0
"""Seconds to wait for another process that writes to the same file."""

SLOW, LEFT_TO_THREADS = 0.002, 100
"""Seconds that a read on the loop may take, and how many reads aren't done there after one that failed. After one that was slow it is one, and
twice as many each time the next is slow again: it may have been the disk, or only another program that had the core.
"""

READING = ("query_only=ON",)
WAL = "journal_mode=WAL"
WRITING = (WAL, "synchronous=FULL", "wal_autocheckpoint=0")


class SqliteThreads:
    """So many threads with a connection each, opened at its first use. What is handed in is begun in that order."""

    def __init__(self, url: sa.URL, *, threads: int, pragmas: Sequence[str], name: str) -> None:
        self._engine = _engine(url, threads, pragmas)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._its = threading.local()
        self._opened: list[sa.Connection] = []

    def run(self, do: Callable[[sa.Connection], T]) -> asyncio.Future[T]:
        """Does it in a thread, with that thread's connection, and leaves no transaction behind. It goes on if the caller goes away."""
        return asyncio.get_running_loop().run_in_executor(self._threads, self._with_connection, do)

    def then(self, do: Callable[[sa.Connection], object]) -> None:
        """The same from one of the threads; nobody hears how it ended."""
        self._threads.submit(self._with_connection, do)

    def close(self) -> None:
        """Waits for what was handed in, then closes the connections; idempotent. Blocks."""
        self._threads.shutdown()
        while self._opened:
            self._opened.pop().close()
        self._engine.dispose()

    def _with_connection(self, do: Callable[[sa.Connection], T]) -> T:
        connection: sa.Connection | None = getattr(self._its, "connection", None)
        if connection is None:
            connection = self._its.connection = self._engine.connect()
            self._opened.append(connection)
        try:
            return do(connection)
        finally:
            connection.rollback()  # SQLAlchemy's own state; a transaction that was begun has ended


class SqliteHere:
    """A connection for reads of microseconds in the loop's own thread: a hop to another costs 0.1 to 0.4 ms.

    After a slow one (a page came from a busy disk, say) the next ones are left to the threads.
    """

    def __init__(self, url: sa.URL, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._engine = _engine(url, 1, (*READING, "busy_timeout=0"))
        self._connection: sa.Connection | None = None
        self._monotonic = monotonic
        self._left = 0  # to the threads
        self._next_left = 1  # after the next slow one

    def read(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T | None:
        """What the work says; None where it has to be done in a thread: now is no time for it, or it fails."""
        if self._left:
            self._left -= 1
            return None
        started = self._monotonic()
        try:
            if self._connection is None:
                self._connection = self._engine.connect()
            found = run_here(work, self._connection)
        except (sa.exc.SQLAlchemyError, sqlite3.Error):  # the threads find out what it is
            self._left = LEFT_TO_THREADS
            return None
        if self._monotonic() - started > SLOW:
            self._left, self._next_left = self._next_left, min(2 * self._next_left, LEFT_TO_THREADS)
        else:
            self._next_left = 1
        return found

    def close(self) -> None:
        """Nothing is read here any more; idempotent."""
        self._left = sys.maxsize
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._engine.dispose()


def run_here(work: Callable[[AsyncConnection], Awaitable[T]], connection: sa.Connection) -> T:
    """Runs the work to its end in this thread."""
    its = cast("AsyncConnection", AnsweringAtOnce(connection))
    try:
        next(work(its).__await__())
    except StopIteration as end:
        return cast("T", end.value)
    raise RuntimeError("work on the database waited for something else than its connection")


class AnsweringAtOnce:
    """As much of an `AsyncConnection` as work uses. driver: SQLite's own connection, for `prepared`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self.dialect = connection.dialect
        self.driver = driver_of(connection)

    async def execute(self, statement: sa.Executable, parameters: Any = None) -> sa.CursorResult[Any]:
        """As SQLAlchemy's."""
        return self._connection.execute(statement, parameters)

    async def exec_driver_sql(self, statement: str, parameters: Any = None) -> sa.CursorResult[Any]:
        """As SQLAlchemy's."""
        return self._connection.exec_driver_sql(statement, parameters)

    async def run_sync(self, do: Callable[[sa.Connection], T]) -> T:
        """As SQLAlchemy's."""
        return do(self._connection)


def driver_of(connection: sa.Connection) -> sqlite3.Connection:
    """SQLite's own connection."""
    return cast("sqlite3.Connection", connection.connection.driver_connection)


def _engine(url: sa.URL, connections: int, pragmas: Sequence[str]) -> sa.Engine:
    engine = sa.create_engine(
        url, pool_size=connections, max_overflow=0, pool_reset_on_return=None,
        connect_args={"timeout": BUSY_TIMEOUT, "check_same_thread": False},  # whoever closes it is another thread
        hide_parameters=True,  # they hold prompts, and an error may reach a log
    )  # fmt: skip

    @sa.event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself
        connection.text_factory = _text
        for pragma in pragmas:
            _set(connection, pragma)

    if "query_only=ON" not in pragmas:

        @sa.event.listens_for(engine, "begin")
        def begun(connection: sa.Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _set(connection: sqlite3.Connection, pragma: str) -> None:
    """Tries again where the file is to be turned to WAL while another process is at it: SQLite doesn't wait for that by itself."""
    patient = time.monotonic() + BUSY_TIMEOUT if pragma == WAL else 0.0
    while True:
        try:
            connection.execute(f"PRAGMA {pragma}").close()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= patient:
                raise
        else:
            return
        time.sleep(0.01)


def _text(value: bytes) -> str:
    """Text as stored; bytes that a fault has made invalid survive as surrogates, which no checksum accepts."""
    return value.decode("utf-8", "surrogateescape")
