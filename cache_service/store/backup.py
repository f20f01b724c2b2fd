"""A copy of everything that is stored, made while the service runs, and a data directory made of it.

Order is what keeps a copy whole: pictures aren't collected from before the database is copied until all of them are, and pictures are
immutable, so every picture that the copied database names is there. SQLite's own backup reads one snapshot and holds no writer up;
PostgreSQL's is `pg_dump`. A backup appears under its name only when it is complete; a restored database is the last thing to appear
in its folder. The copy gets a new epoch, because numbers that the original gave out after it was copied mean something else here:
indexes and other nodes then rebuild.

What blocks is run in a thread. Raised: `StoreError`, `ConfigurationError`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa

from cache_service.errors import ConfigurationError, StoreCorrupt, StoreError
from cache_service.store.blobs import collection_paused, keep, make_folders, read_blob, stored_blobs
from cache_service.store.engine import database_url
from cache_service.store.files import sync_folder, wrapped, write_all
from cache_service.store.migrations import renew_epoch

MANIFEST = "manifest.json"
SQLITE_FILE = "cache.db"
DUMP_FILE = "database.dump"
BLOBS = "blobs"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds. made_at: Unix seconds. settings: digest of the settings it was made under, secrets left out.

    database: name of its file, with SHA-256 and size. damaged: pictures that were missing or not what was written already then.
    """

    format: int
    release: str
    made_at: float
    settings: str
    database: str
    database_sha256: str
    database_bytes: int
    blobs: int
    blob_bytes: int
    damaged: tuple[str, ...]


def back_up(
    database: sa.URL, blobs: Path, target: Path, *, release: str, settings: str, now: float | None = None
) -> Manifest:
    """Copies database and pictures to the folder `target`, which must not exist. Its name appears when all is there and durable."""
    target = target.absolute()
    if database.get_backend_name() == "sqlite" and not Path(database.database or "").is_file():
        raise ConfigurationError(f"there is no database at {database.database}: nothing was ever stored there")
    if target.exists():
        raise ConfigurationError(f"{target} exists already; name a folder that doesn't")
    partial = target.with_name(f".{target.name}.partial")
    with wrapped("making a backup"):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(mode=0o700, parents=True)
        with collection_paused(blobs):
            if database.get_backend_name() == "sqlite":
                file = partial / SQLITE_FILE
                named = _copy_sqlite(Path(database.database or ""), file)
            else:
                file = partial / DUMP_FILE
                _dump_postgresql(database, file)
                named = stored_blobs(blobs)  # a superset of what the dump names: nothing was collected since
            count, size, damaged = _copy_blobs(named, blobs, partial / BLOBS)
        manifest = Manifest(
            format=FORMAT, release=release, made_at=time.time() if now is None else now, settings=settings,
            database=file.name, database_sha256=_sha256(file), database_bytes=file.stat().st_size,
            blobs=count, blob_bytes=size, damaged=tuple(damaged),
        )  # fmt: skip
        _write(partial / MANIFEST, orjson.dumps(asdict(manifest), option=orjson.OPT_INDENT_2))
        sync_folder(partial)
        partial.rename(target)
        sync_folder(target.parent)
    return manifest


def read_manifest(source: Path) -> Manifest:
    """The manifest of a backup. Raises ConfigurationError where there is none of this format."""
    try:
        members: dict[str, Any] = orjson.loads((source / MANIFEST).read_bytes())
        manifest = Manifest(**members | {"damaged": tuple(members["damaged"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigurationError(f"{source} is no backup: {MANIFEST} can't be read") from error
    if manifest.format != FORMAT:
        raise ConfigurationError(f"{source} was made by another release (format {manifest.format})")
    return manifest


async def restore(url: str, blobs: Path, source: Path, *, allow_damaged: bool) -> tuple[Manifest, list[str]]:
    """Pictures first, the database last; it isn't there before all is. The pictures that are damaged, and were left out.

    On PostgreSQL the database was restored before, by `pg_restore`. Raises ConfigurationError where there is a database already.
    """
    database = database_url(url)
    manifest = await asyncio.to_thread(read_manifest, source)
    if database.get_backend_name() != "sqlite":
        damaged = await asyncio.to_thread(_restore_blobs, source, blobs, allow_damaged=allow_damaged)
        await renew_epoch(url)
        return manifest, damaged
    file = Path(database.database or "")
    unfinished = file.with_name(f"{file.name}.restoring")
    await asyncio.to_thread(_restore_sqlite, source, manifest, file, unfinished)
    damaged = await asyncio.to_thread(_restore_blobs, source, blobs, allow_damaged=allow_damaged)
    await renew_epoch(f"sqlite:///{unfinished.absolute()}")
    await asyncio.to_thread(_appear, unfinished, file)
    return manifest, damaged


def _restore_blobs(source: Path, blobs: Path, *, allow_damaged: bool) -> list[str]:
    """Each checked against its digest."""
    damaged = _copy_blobs(stored_blobs(source / BLOBS), source / BLOBS, blobs)[2]
    if damaged and not allow_damaged:
        raise StoreCorrupt(
            f"{len(damaged)} pictures of the backup aren't what was written, the first {damaged[0]}; "
            "--allow-damaged restores the others, and `check --fix` then sets their entries aside"
        )
    return damaged


def _restore_sqlite(source: Path, manifest: Manifest, file: Path, unfinished: Path) -> None:
    """Copies the database file, checked against the manifest."""
    if file.exists():
        raise ConfigurationError(f"{file} exists already; restore into another data directory, or move it away first")
    if manifest.database != SQLITE_FILE:
        raise ConfigurationError("the backup holds a dump of PostgreSQL; set database_url to a PostgreSQL database")
    copied = source / manifest.database
    with wrapped("copying the database"):
        if _sha256(copied) != manifest.database_sha256:
            raise StoreCorrupt(f"{copied} isn't what the backup's manifest says")
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for leftover in (unfinished, *_beside(unfinished)):
            leftover.unlink(missing_ok=True)
        os.close(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        shutil.copyfile(copied, unfinished)


def _appear(unfinished: Path, file: Path) -> None:
    """Gives the finished database its name: from here on it is served."""
    with wrapped("finishing the restored database"):
        if left := [path.name for path in _beside(unfinished) if path.exists() and path.stat().st_size]:
            raise StoreError(f"the restored database was not closed: {', '.join(left)}")
        for path in _beside(unfinished):
            path.unlink(missing_ok=True)
        _sync(unfinished)
        unfinished.rename(file)
        sync_folder(file.parent)


def _copy_sqlite(database: Path, file: Path) -> list[str]:
    """One consistent snapshot; the digests of the pictures that it names."""
    os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    try:
        with (
            contextlib.closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as source,
            contextlib.closing(sqlite3.connect(file)) as copy,
        ):
            source.backup(copy)  # in one step: writers of a log go on, and nothing begins anew when they do
            copy.execute("PRAGMA journal_mode=DELETE")
            (verdict,) = copy.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise StoreCorrupt(f"the database is damaged: {verdict}; `check` tells more")
            rows = copy.execute("SELECT DISTINCT blob FROM outputs WHERE blob IS NOT NULL ORDER BY blob").fetchall()
    except sqlite3.Error as error:
        raise StoreError(f"copying the database failed: {error}") from error
    _sync(file)
    return [blob for (blob,) in rows]


def _dump_postgresql(database: sa.URL, file: Path) -> None:
    """By `pg_dump`; the password goes by the environment, where `ps` doesn't show it."""
    program = shutil.which("pg_dump")
    if program is None:
        raise ConfigurationError(
            "pg_dump isn't installed here: install the client programs of the server's PostgreSQL release and run this again"
        )
    query = {name: value for name, value in database.query.items() if isinstance(value, str)}
    places = {
        "PGHOST": query.get("host", database.host), "PGPORT": query.get("port", database.port),
        "PGUSER": database.username, "PGPASSWORD": database.password, "PGDATABASE": database.database,
    }  # fmt: skip
    environment = os.environ | {name: str(value) for name, value in places.items() if value}
    command = [program, "--format=custom", "--no-owner", f"--file={file}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 # no shell
    if done.returncode:
        raise StoreError(
            f"pg_dump failed: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'no reason'}"
        )
    _sync(file)


def _copy_blobs(digests: Iterable[str], source: Path, target: Path) -> tuple[int, int, list[str]]:
    """How many there are then and their bytes, and those that couldn't be copied because they aren't what they should be."""
    make_folders(target)
    count, size, damaged = 0, 0, []
    for digest in digests:
        try:
            picture = read_blob(source, digest)
        except StoreCorrupt:
            damaged.append(digest)
            continue
        keep(target, digest, picture)
        count, size = count + 1, size + len(picture)
    return count, size, damaged


def _beside(file: Path) -> list[Path]:
    return [file.with_name(file.name + suffix) for suffix in ("-wal", "-shm", "-journal")]


def _write(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        write_all(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
