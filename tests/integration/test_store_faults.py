"""Disks that are full or fail, processes that are killed, bits that flip: what was acknowledged stays, nothing wrong is served."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cache_service.errors import StoreError, StoreReadOnly
from cache_service.store import engine
from cache_service.store.base import Stored
from cache_service.store.blobs import FileBlobStore
from cache_service.store.entry import PurgePredicate, SpoolHeader
from cache_service.store.spool import FileSpool
from cache_service.store.sql import open_database, open_store
from tests.fakes.databases import MakeDatabase
from tests.fakes.entries import MODEL, digest, new_entry, output
from tests.fakes.storing import picture

ROUNDS = 25
FLIPS = 200


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Writing beyond that size fails with EFBIG, which SQLite calls a disk I/O error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_database_that_hangs_fails_a_look_up_in_time_and_is_asked_again(
    make_postgresql: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it waits for a lock; for who asks that is the same as a server that is stopped."""
    monkeypatch.setattr(engine, "ANSWER_WITHIN", 0.2)
    url = make_postgresql()
    store, other = await open_store(url), await open_database(url)
    stored = await store.put(new_entry("there"), "append")
    assert isinstance(stored, Stored)
    locked, release = asyncio.Event(), asyncio.Event()

    async def lock(connection: AsyncConnection) -> None:
        await connection.execute(sa.text("LOCK TABLE entries IN ACCESS EXCLUSIVE MODE"))
        locked.set()
        await release.wait()

    locking = asyncio.ensure_future(other.write(lock))
    await locked.wait()
    for _ in range(12):  # more than there are connections: none is lost
        with pytest.raises(StoreError, match="didn't answer within"):
            await store.find(digest("there"), embedding_model=MODEL)
    with pytest.raises(StoreError, match="didn't answer within"):
        await store.fetch([stored.entry.id], embedding_model=MODEL)
    release.set()
    await locking
    assert await store.find(digest("there"), embedding_model=MODEL) is not None
    await store.aclose()
    await other.aclose()


async def test_after_an_io_error_nothing_is_stored_until_a_restart(make_sqlite: MakeDatabase) -> None:
    url = make_sqlite()
    store = await open_store(url)
    await store.put(new_entry("before"), "append")
    with largest_file(1000):
        for _ in range(2):
            with pytest.raises(StoreReadOnly):
                await store.put(new_entry("lost"), "append")
    with pytest.raises(StoreReadOnly):
        await store.put(new_entry("late"), "append")
    with pytest.raises(StoreReadOnly):
        await store.purge(PurgePredicate(everything=True))
    assert store.failed is not None
    assert await store.find(digest("before"), embedding_model=MODEL) is not None
    await store.aclose()
    again = await open_store(url)
    assert isinstance(await again.put(new_entry("late"), "append"), Stored)
    assert await again.find(digest("lost"), embedding_model=MODEL) is None
    assert await again.check(fix=False) == []
    await again.aclose()


async def test_a_full_disk_passes_without_a_restart(make_sqlite: MakeDatabase) -> None:
    store = await open_store(make_sqlite())

    async def limit(pages: int) -> None:
        await store._database.write(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count = {pages}"))

    await limit(1)  # less than there is already: not one page more
    outputs = tuple(output(f"{i} {'x' * 2000}") for i in range(50))
    with pytest.raises(StoreError, match="full") as caught:
        await store.put(new_entry(outputs=outputs), "append")
    assert not isinstance(caught.value, StoreReadOnly)
    assert await store.find(digest("cat"), embedding_model=MODEL) is None
    await limit(10**6)
    assert isinstance(await store.put(new_entry(outputs=outputs), "append"), Stored)
    await store.aclose()


async def test_a_failed_checkpoint_stops_later_stores_but_loses_nothing(
    make_sqlite: MakeDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's automatic checkpoint would swallow this error."""
    url = make_sqlite()
    store = await open_store(url)
    large = tuple(output(f"{i} {'x' * 1000}") for i in range(100))
    monkeypatch.setattr("cache_service.store.engine.WRITES_BETWEEN_CHECKPOINTS", 8)
    for i in range(8):
        await store.put(new_entry(str(i), outputs=large), "append")
    await store.set_vectors({})  # written behind the checkpoint
    monkeypatch.setattr("cache_service.store.engine.WRITES_BETWEEN_CHECKPOINTS", 1)
    with largest_file(size_of(url)):  # the log is written from its start again, the database has to grow
        assert isinstance(await store.put(new_entry("8", outputs=large), "append"), Stored)
        with pytest.raises(StoreReadOnly):
            await store.put(new_entry("9"), "append")
    await store.aclose()
    again = await open_store(url)
    assert (await again.totals())["entries"] == 9
    assert await again.check(fix=False) == []
    await again.aclose()


async def test_a_picture_that_cannot_be_written_leaves_nothing_half_done(tmp_path: Path) -> None:
    blobs = await FileBlobStore.open(tmp_path)
    with largest_file(1000), pytest.raises(StoreError):
        async with blobs.writing([b"x" * 2000]):
            pytest.fail("the block must not begin")
    assert await blobs.all() == []
    assert files(tmp_path) == []
    async with blobs.writing([b"x" * 2000]) as digests:
        assert await blobs.all() == digests


@pytest.mark.parametrize("wanted", [True, False])
async def test_an_fsync_that_fails_ahead_is_final_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: bool
) -> None:
    """Also of a picture that turned out not to be wanted: who is told is whoever stores next."""
    blobs = await FileBlobStore.open(tmp_path)

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    picture = b"x" * 2000
    with monkeypatch.context() as patched:
        patched.setattr("cache_service.store.ahead.os.fsync", fail)
        async with blobs.ahead() as ahead:
            ahead.begin(picture)
            if wanted:
                with pytest.raises(StoreReadOnly):
                    async with blobs.writing([picture], ahead=ahead):
                        pytest.fail("it was said to be stored")
    assert blobs.failed
    async with blobs.ahead() as ahead:
        ahead.begin(picture)
        with pytest.raises(StoreReadOnly):
            async with blobs.writing([picture], ahead=ahead):
                pytest.fail("nothing is stored any more")
    assert files(tmp_path) == []


async def test_a_failure_does_not_take_a_picture_that_another_entry_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same picture once more, and its folder can't be synced: the second store fails, the first stays what it was told to be."""
    blobs = await FileBlobStore.open(tmp_path / "blobs")
    async with blobs.writing([b"x" * 2000]) as (kept,):
        pass

    def fail(folder: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("cache_service.store.blobs.sync_folder", fail)
    with pytest.raises(StoreReadOnly):
        async with blobs.writing([b"x" * 2000]):
            pytest.fail("it was said to be stored")
    assert await blobs.read(kept) == b"x" * 2000


async def test_a_torn_spool_file_takes_nothing_more(tmp_path: Path) -> None:
    """An answer with a hole in it must not look like a whole one."""
    file = await FileSpool(tmp_path).open(SpoolHeader("g", 1, 1.0))
    await file.append(b"x" * 500)
    with largest_file(1000), pytest.raises(StoreError):
        await file.append(b"y" * 2000)
    with pytest.raises(StoreError):
        await file.append(b"z")
    await file.discard()
    assert files(tmp_path) == []


async def test_a_killed_process_loses_nothing_it_acknowledged(make_sqlite: MakeDatabase) -> None:
    """Rounds of a process that stores and purges as fast as it can and is killed at some point."""
    url = make_sqlite()
    root = Path(f"{url.removeprefix('sqlite:///')}.blobs")
    draw = random.Random(7)  # noqa: S311 # repeatable, no secret
    everything = _nothing_said()
    with storing_process(url, root) as process:
        for round_ in range(ROUNDS):
            said = _nothing_said()
            kill_after(process, f"round {round_}", draw.randint(1, 40), said)
            await _nothing_is_lost(url, root, said)
            for kind, names in said.items():
                everything[kind] |= names
    assert len(everything["stored"]) > ROUNDS
    await _nothing_is_lost(url, root, everything)


def _nothing_said() -> dict[str, set[str]]:
    return {"stored": set(), "purging": set(), "purged": set()}


@contextlib.contextmanager
def storing_process(url: str, root: Path) -> Iterator[subprocess.Popen[str]]:
    """See `tests.fakes.storing`."""
    command = [sys.executable, "-m", "tests.fakes.storing", url, str(root)]
    here = Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=here) as process:
        yield process
        process.communicate()


def kill_after(process: subprocess.Popen[str], round_: str, lines: int, said: dict[str, set[str]]) -> None:
    """Lets it work until it has said so many lines, kills it, and collects all it said."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{round_}\n")
    process.stdin.flush()
    pid = None
    for count, line in enumerate(process.stdout):
        kind, name = line.rstrip("\n").split("|")
        if kind == "pid":
            pid = int(name)
        elif kind == "dead":
            return
        else:
            said[kind].add(name)
        if count >= lines and pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


async def _nothing_is_lost(url: str, root: Path, said: dict[str, set[str]]) -> None:
    store, blobs = await open_store(url), await FileBlobStore.open(root)
    assert await store.check(fix=False) == []
    for name in said["stored"] - said["purging"]:
        entry = await store.find(digest(name), embedding_model=MODEL)
        assert entry is not None, name
        assert await blobs.read(entry.outputs[0].blob or "") == picture(name)
    for name in said["purged"]:
        assert await store.find(digest(name), embedding_model=MODEL) is None
    assert not [path for path in files(root) if path.name.endswith(".writing")]
    await store.aclose()


async def test_flipped_bits_never_give_a_wrong_answer(make_sqlite: MakeDatabase, tmp_path: Path) -> None:
    """One random bit of the database file at a time: the right entry, none, or an error, never another answer."""
    source = await open_store(make_sqlite())
    original = Path(source._database.url.database or "")
    names = [f"猫 {i}" for i in range(20)]
    right = {}
    for name in names:
        stored = await source.put(new_entry(name, outputs=(output(name), output(f"{name}b"))), "append")
        assert isinstance(stored, Stored)
        right[name] = replace(stored.entry, analysis=None, analysis_version=None)
    await source.aclose()
    draw = random.Random(11)  # noqa: S311 # repeatable, no secret
    damaged = 0
    for _ in range(FLIPS):
        path = tmp_path / "flipped.db"
        _flip_a_bit(original, path, draw)
        try:
            store = await open_store(f"sqlite:///{path}")
        except StoreError:
            damaged += 1
            continue
        for name in names:
            try:
                found = await store.find(digest(name), embedding_model=MODEL)
            except StoreError:
                found = None
            # a damaged row of a vector may be missed; then the entry is found exactly only
            assert found is None or replace(found, analysis=None, analysis_version=None) == right[name]
            damaged += found is None
        await store.aclose()
    assert damaged, "no flip hit anything: the test tries nothing"


def _flip_a_bit(source: Path, target: Path, draw: random.Random) -> None:
    for leftover in target.parent.glob(f"{target.name}*"):
        leftover.unlink()
    content = bytearray(source.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    target.write_bytes(content)


def size_of(url: str) -> int:
    """Bytes of the database's main file."""
    return Path(url.removeprefix("sqlite:///")).stat().st_size


def files(folder: Path) -> list[Path]:
    """Every file below the folder."""
    return [path for path in folder.rglob("*") if path.is_file()]
