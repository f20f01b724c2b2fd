"""What `BlobStore` promises, on every implementation."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import stat
from collections.abc import Collection
from pathlib import Path

import pytest

from cache_service.errors import StoreCorrupt
from cache_service.store import ahead as ahead_module
from cache_service.store.blobs import FileBlobStore


@pytest.fixture
async def blobs(tmp_path: Path) -> FileBlobStore:
    return await FileBlobStore.open(tmp_path / "data" / "blobs")


def sha256(picture: bytes) -> str:
    return hashlib.sha256(picture).hexdigest()


def files(folder: Path, name: str = "*") -> list[Path]:
    """The files of that name anywhere below the folder."""
    return [path for path in folder.rglob(name) if path.is_file()]


async def test_pictures_come_back_by_their_digest(blobs: FileBlobStore) -> None:
    pictures = [b"one", b"", b"one", bytes(range(256)) * 1000]
    async with blobs.writing(pictures) as digests:
        assert digests == [sha256(picture) for picture in pictures]
        assert await blobs.read(digests[0]) == b"one"  # durable inside the block: a row may be committed now
    assert [await blobs.read(digest) for digest in digests] == pictures
    assert sorted(await blobs.all()) == sorted(set(digests))


async def test_equal_pictures_are_kept_once(blobs: FileBlobStore, tmp_path: Path) -> None:
    async def write() -> None:
        async with blobs.writing([b"same"]):
            pass

    await asyncio.gather(*[write() for _ in range(5)])
    assert len(files(tmp_path)) == 1


async def test_a_missing_picture_is_corrupt(blobs: FileBlobStore) -> None:
    with pytest.raises(StoreCorrupt, match="missing"):
        await blobs.read(sha256(b"never"))


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "AB" * 32, "ab" * 32 + "\n", "ab" * 33])
async def test_what_is_no_digest_is_never_looked_for(blobs: FileBlobStore, name: str) -> None:
    with pytest.raises(StoreCorrupt):
        await blobs.read(name)
    assert await blobs.collect([name]) == 0


@pytest.mark.parametrize("damage", [b"picturf", b"pict", b""])
async def test_a_damaged_picture_is_never_given_out(blobs: FileBlobStore, tmp_path: Path, damage: bytes) -> None:
    async with blobs.writing([b"picture"]) as (digest,):
        pass
    (file,) = files(tmp_path, digest)
    file.write_bytes(damage)
    with pytest.raises(StoreCorrupt):
        await blobs.read(digest)


async def test_a_picture_that_was_cut_short_is_written_anew(blobs: FileBlobStore, tmp_path: Path) -> None:
    async with blobs.writing([b"picture"]) as (digest,):
        pass
    files(tmp_path, digest)[0].write_bytes(b"pict")
    async with blobs.writing([b"picture"]):
        pass
    assert await blobs.read(digest) == b"picture"


async def test_collecting_deletes_what_nobody_writes(blobs: FileBlobStore) -> None:
    async with blobs.writing([b"old", b"kept"]) as (old, kept):
        pass
    assert await blobs.collect([old, old, sha256(b"unknown")]) == 1
    assert await blobs.all() == [kept]


async def test_a_picture_being_written_is_not_collected(blobs: FileBlobStore) -> None:
    async with blobs.writing([b"a", b"b"]) as digests, blobs.writing([b"a"]):
        assert await blobs.collect(digests) == 0
    assert await blobs.collect(digests) == 2


async def test_a_failed_store_leaves_no_pin(blobs: FileBlobStore) -> None:
    with pytest.raises(RuntimeError):
        async with blobs.writing([b"a", b"a"]) as (digest, _):
            raise RuntimeError
    assert await blobs.collect([digest]) == 1


async def test_what_is_committed_while_collecting_waits_is_seen(blobs: FileBlobStore) -> None:
    """A picture may be written and committed between the question "who refers to it?" and the deletion."""
    committed: set[str] = set()

    async def unreferenced(digests: Collection[str]) -> set[str]:
        return set(digests) - committed

    async with blobs.writing([b"a"]) as (digest,):
        pass
    assert await unreferenced([digest]) == {digest}
    async with blobs.writing([b"a"]):
        committed.add(digest)
    assert await blobs.collect([digest], unreferenced=unreferenced) == 0
    assert await blobs.read(digest) == b"a"


async def test_nobody_begins_to_write_while_references_are_counted(blobs: FileBlobStore) -> None:
    async with blobs.writing([b"a"]) as (digest,):
        pass
    counting, counted = asyncio.Event(), asyncio.Event()

    async def unreferenced(digests: Collection[str]) -> set[str]:
        counting.set()
        await counted.wait()
        return set(digests)

    async def write() -> None:
        async with blobs.writing([b"a"]):
            pass

    collecting = asyncio.create_task(blobs.collect([digest], unreferenced=unreferenced))
    await counting.wait()
    writing = asyncio.create_task(write())
    counted.set()
    assert await collecting == 1
    await writing
    assert await blobs.read(digest) == b"a"


async def test_young_blobs_of_other_processes_are_spared(tmp_path: Path) -> None:
    ours = await FileBlobStore.open(tmp_path / "b", spare_younger_than=60.0, clock=lambda: 10.0**10)
    later = await FileBlobStore.open(tmp_path / "b", spare_younger_than=60.0, clock=lambda: 0.0)
    async with ours.writing([b"a"]) as (digest,):
        pass
    assert await later.collect([digest]) == 0
    assert await ours.collect([digest]) == 1


async def test_half_written_files_are_removed_at_the_next_start(blobs: FileBlobStore, tmp_path: Path) -> None:
    async with blobs.writing([b"a"]) as (digest,):
        pass
    (tmp_path / "data" / "blobs" / "0123456789abcdef.writing").write_bytes(b"hal")
    await FileBlobStore.open(tmp_path / "data" / "blobs")
    assert [path.name for path in files(tmp_path)] == [digest]


async def test_files_are_for_the_owner_only(blobs: FileBlobStore, tmp_path: Path) -> None:
    async with blobs.writing([b"a"]):
        pass
    made = list((tmp_path / "data").rglob("*"))
    assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_dir()} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in made if path.is_file()} == {0o600}


async def test_what_was_written_ahead_is_named_and_not_written_again(
    blobs: FileBlobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bytes] = []
    write_all = ahead_module.write_all

    def counting(descriptor: int, data: bytes) -> None:
        written.append(data)
        write_all(descriptor, data)

    monkeypatch.setattr(ahead_module, "write_all", counting)
    begun, other = b"begun", b"other"
    async with blobs.ahead() as ahead:
        ahead.begin(begun)
        async with blobs.writing([begun, other, begun], ahead=ahead) as (digest, its, again):
            assert digest == again
            assert await blobs.read(digest) == begun
            assert await blobs.read(its) == other
    assert written == [begun, other]
    assert len(files(tmp_path)) == 2


async def test_what_was_begun_and_is_not_wanted_leaves_nothing(blobs: FileBlobStore, tmp_path: Path) -> None:
    """Nor where the block fails, nor what is there already."""
    async with blobs.writing([b"there"]) as (digest,):
        pass
    there = b"there"
    with contextlib.suppress(ZeroDivisionError):
        async with blobs.ahead() as ahead:
            ahead.begin(b"unwanted")
            ahead.begin(there)
            async with blobs.writing([there], ahead=ahead):
                raise ZeroDivisionError
    assert [path.name for path in files(tmp_path)] == [digest]


async def test_what_is_being_written_ahead_is_not_another_process_s_to_remove(
    blobs: FileBlobStore, tmp_path: Path
) -> None:
    async with blobs.ahead() as ahead:
        picture = b"begun"
        ahead.begin(picture)
        await FileBlobStore.open(tmp_path / "data" / "blobs")
        async with blobs.writing([picture], ahead=ahead) as (digest,):
            assert await blobs.read(digest) == picture
