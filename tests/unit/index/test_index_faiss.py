"""The index under what a machine does to it: many partitions, searches beside changes, full disks, damaged files."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import random
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from cache_service.embedding.base import Vector
from cache_service.errors import StoreError
from cache_service.index import large_partition, rows, snapshot
from cache_service.index.base import IndexPosition
from cache_service.index.faiss import FaissIndex
from tests.fakes.index import BruteForceIndex

DIMENSION = 32


def vectors(count: int, seed: int = 0, *, together: int = 50, apart: float = 0.12) -> rows.Matrix:
    """Random unit vectors in clusters of so many, so that many are above 0.92."""
    random_ = np.random.default_rng(seed)
    centres = random_.standard_normal((max(1, count // together), DIMENSION))
    made = centres[random_.integers(0, len(centres), count)] + apart * random_.standard_normal((count, DIMENSION))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def seeded(seed: float) -> random.Random:
    """Draws that are the same each time."""
    return random.Random(seed)  # noqa: S311 (no secret)


async def opened(folder: Path, small_partition: int = 2000) -> FaissIndex:
    """An index after `load`."""
    index = FaissIndex(folder, DIMENSION, small_partition=small_partition)
    await index.load(epoch="e", model_id="m")
    return index


@pytest.mark.parametrize("small_partition", [20, 110, 10_000])
async def test_the_nearest_of_all_are_those_of_comparing_all(tmp_path: Path, small_partition: int) -> None:
    """Whether they are in large partitions, in small ones, or in both."""
    stored = vectors(5_000)
    index, brute = await opened(tmp_path, small_partition), BruteForceIndex(DIMENSION)
    random_ = seeded(1)
    for entry_id, vector in enumerate(stored):
        name = f"partition-{random_.randrange(50)}"
        for each in (index, brute):
            each.add(entry_id, name, vector)
    for entry_id in range(0, 5_000, 7):
        index.remove(entry_id)
        brute.remove(entry_id)
    await index.settle()
    for floor in (0.92, 0.3):
        for vector in stored[:20]:
            wanted = await brute.nearest(vector, limit=40, floor=floor)
            assert await index.nearest(vector, limit=40, floor=floor) == wanted
    await index.aclose()


async def test_no_hit_crosses_a_partition_in_100_000_lookups(tmp_path: Path) -> None:
    """50 partitions hold vectors of the very same clusters, small and large ones; each answer is of the partition asked."""
    stored = vectors(5_000)
    index = await opened(tmp_path, small_partition=110)
    random_ = seeded(1)
    home = {}
    for entry_id, vector in enumerate(stored):
        home[entry_id] = f"partition-{random_.randrange(50)}"
        index.add(entry_id, home[entry_id], vector)
    assert 0 < len(index._large) < 50
    found = crossed = 0
    for _ in range(100_000):
        name = f"partition-{random_.randrange(50)}"
        for candidate in await index.search(name, stored[random_.randrange(5_000)], limit=5, floor=0.92):
            found += 1
            crossed += home[candidate.entry_id] != name
    assert crossed == 0
    assert found > 50_000
    await index.aclose()


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("count", [3, 400, 900, 3_000])
async def test_every_size_of_partition_finds_what_comparing_with_all_finds(tmp_path: Path, count: int) -> None:
    """Scanned at once, scanned in a thread, or through FAISS with pending and removed rows: the same candidates."""
    stored, model = vectors(count), BruteForceIndex(DIMENSION)
    index = await opened(tmp_path, small_partition=1_000)
    random_ = seeded(2)
    for entry_id, vector in enumerate(stored):
        for each in (index, model):
            each.add(entry_id, "p", vector)
        if random_.random() < 0.2:
            gone = random_.randrange(entry_id + 1)
            index.remove(gone)
            model.remove(gone)
        if entry_id % 97 == 0 or entry_id == count - 1:
            asked = stored[random_.randrange(count)]
            for limit, floor in ((1, 0.92), (5, 0.92), (200, 0.5)):
                expected = await model.search("p", asked, limit=limit, floor=floor)
                assert await index.search("p", asked, limit=limit, floor=floor) == expected
    await index.aclose()


async def test_more_equal_vectors_than_asked_for_still_come_by_smaller_id(tmp_path: Path) -> None:
    """FAISS returns any of them; the index asks on until the tie is complete."""
    index = await opened(tmp_path, small_partition=10)
    vector = vectors(1)[0]
    for entry_id in reversed(range(large_partition.PENDING * 4)):
        index.add(entry_id, "p", vector)
    assert [c.entry_id for c in await index.search("p", vector, limit=3, floor=0.9)] == [0, 1, 2]
    await index.aclose()


async def test_a_partition_gets_its_own_index_above_the_size_and_loses_it_at_half(tmp_path: Path) -> None:
    """Not at once below the size, or an entry that comes and goes would build an index each time."""
    index = await opened(tmp_path, small_partition=10)
    stored = vectors(11)
    for entry_id, vector in enumerate(stored):
        assert not index._large
        index.add(entry_id, "p", vector)
    assert index._large
    for entry_id in range(5):
        index.remove(entry_id)
        assert index._large
    index.remove(5)
    assert not index._large
    assert {c.entry_id for c in await index.search("p", stored[6], limit=20, floor=-1)} == {6, 7, 8, 9, 10}
    await index.aclose()


async def test_searches_beside_changes_return_only_what_is_true_when_they_return(tmp_path: Path) -> None:
    """Rows are freed, used again by other partitions, saved and cleared while threads read them."""
    stored = vectors(6_000)
    index = await opened(tmp_path, small_partition=1_000)
    where: dict[int, tuple[str, int]] = {}

    def put(entry_id: int, partition: str, number: int) -> None:
        index.add(entry_id, partition, stored[number])
        where[entry_id] = (partition, number)

    for number in range(4_000):
        put(number, f"p{number % 3}", number)  # 1,333 each: FAISS; the fourth is scanned in a thread
    for number in range(4_000, 4_800):
        put(number, "p3", number)
    random_ = seeded(3)
    searched = 0
    done = False

    async def search() -> None:
        nonlocal searched
        mine = seeded(random_.random())
        while not done:
            partition, asked = f"p{mine.randrange(4)}", stored[mine.randrange(6_000)]
            found = await index.search(partition, asked, limit=5, floor=0.8)
            searched += 1
            for candidate in found:
                place, number = where[candidate.entry_id]
                assert place == partition
                assert candidate.similarity == pytest.approx(float(stored[number] @ asked), abs=1e-5)
            assert len({c.entry_id for c in found}) == len(found)

    searches = [asyncio.create_task(search()) for _ in range(4)]
    for step in range(3_000):
        entry_id = random_.randrange(4_800)
        if random_.random() < 0.5:
            index.remove(entry_id)
            where.pop(entry_id, None)
        else:
            put(entry_id, f"p{random_.randrange(4)}", random_.randrange(6_000))
        if step % 500 == 250:
            index.advance(IndexPosition("e", step))
            await index.save()
        if step % 10 == 0:
            await asyncio.sleep(0)
    done = True
    await asyncio.gather(*searches)
    assert searched > 50
    assert len(index) == len(where)
    await index.aclose()


async def test_rows_are_used_again_but_never_while_a_snapshot_needs_them(tmp_path: Path) -> None:
    """The files stay as large as what they hold, and the snapshot on disk stays true until the next one is there."""
    index = await opened(tmp_path)
    stored = vectors(1_000)
    for entry_id in range(100):
        index.add(entry_id, "p", stored[entry_id])
    index.advance(IndexPosition("e", 1))
    await index.save()
    kept = await index.search("p", stored[7], limit=9, floor=0.5)
    for step in range(900):
        index.add(step % 100, "p", stored[100 + step])  # replaces all of them, nine times
    copied = tmp_path.parent / "as after a crash"
    shutil.copytree(tmp_path, copied)
    crashed = FaissIndex(copied, DIMENSION)
    assert await crashed.load(epoch="e", model_id="m")
    assert await crashed.search("p", stored[7], limit=9, floor=0.5) == kept
    for number in range(2, 40):
        for step in range(100):
            index.add(step, "p", stored[(number * 100 + step) % 1_000])
        index.advance(IndexPosition("e", number))
        await index.save()
    assert index._rows._used <= 400
    for each in (index, crashed):
        await each.aclose()


async def test_a_full_disk_is_an_error_of_add_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Space is allocated before it is written to: a full disk must not kill the process. It goes on once there is room."""
    index = await opened(tmp_path)
    stored = vectors(1_100)
    full = True

    def allocate(descriptor: int, start: int, size: int) -> None:
        if full and start > 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.ftruncate(descriptor, start + size)

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    for entry_id in range(1_024):
        index.add(entry_id, "p", stored[entry_id])
    with pytest.raises(StoreError, match="No space left"):
        index.add(0, "q", stored[1_024])
    assert index.partition_of(0) == "p"
    assert len(await index.search("p", stored[0], limit=2_000, floor=-1)) == 1_024
    full = False
    index.add(0, "q", stored[1_024])
    assert [c.entry_id for c in await index.search("q", stored[1_024], limit=2, floor=0.9)] == [0]
    await index.aclose()


@pytest.mark.parametrize("full", [False, True])
async def test_large_steps_are_allocated_ahead_in_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    """Of 25 MB each, on the loop milliseconds. Where the disk is full by then, whoever needs the space is told, as ever."""
    monkeypatch.setattr(rows, "_LARGEST_STEP", 1_024)
    index = await opened(tmp_path)
    stored = vectors(2_100)
    for entry_id in range(500):
        index.add(entry_id, "p", stored[entry_id])
    allocate, of_the_loop, of_others = os.posix_fallocate, [0], [0]

    def counting(descriptor: int, start: int, size: int) -> None:
        in_loop = threading.current_thread() is threading.main_thread()
        (of_the_loop if in_loop else of_others)[0] += 1
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        allocate(descriptor, start, size)

    monkeypatch.setattr(os, "posix_fallocate", counting)
    for entry_id in range(500, 1_024):
        index.add(entry_id, "p", stored[entry_id])
    await index.settle()
    assert of_the_loop == [0]
    assert of_others[0] > 0
    if full:
        with pytest.raises(StoreError, match="No space left"):
            index.add(1_024, "p", stored[1_024])
        full = False
    else:
        index.add(1_024, "p", stored[1_024])
        assert of_the_loop == [0]
    for entry_id in range(1_024, 2_048):
        index.add(entry_id, "p", stored[entry_id])
    assert len(index) == 2_048
    assert [c.entry_id for c in await index.search("p", stored[2_000], limit=1, floor=0.9)] == [2_000]
    await index.settle()
    assert of_others[0] <= 4  # two steps of two files
    await index.aclose()


async def test_200_random_bit_flips_are_refused_or_change_no_answer(tmp_path: Path) -> None:
    """In any of the files; never an error, never another answer."""
    folder = tmp_path / "index"
    index = await opened(folder, small_partition=50)
    stored = vectors(300)
    for entry_id, vector in enumerate(stored):
        index.add(entry_id, f"p{entry_id % 3 if entry_id < 90 else 0}", vector)
    for entry_id in range(0, 300, 7):
        index.remove(entry_id)
    await index.settle()
    index.advance(IndexPosition("e", 9))
    await index.save()
    asked = [(f"p{number % 3}", stored[number * 3]) for number in range(20)]
    before = [await index.search(partition, vector, limit=5, floor=0.5) for partition, vector in asked]
    await index.aclose()
    names = sorted(path.name for path in folder.iterdir())
    random_ = seeded(4)
    refused, damaged_names = 0, set()
    for number in range(200):
        damaged = tmp_path / f"damaged-{number}"
        shutil.copytree(folder, damaged)
        path = damaged / names[number % len(names)]
        content = bytearray(path.read_bytes())
        damaged_names.add(path.name.split("-")[0])
        used = {rows.VECTORS: 300 * DIMENSION * 4, rows.LABELS: 300 * rows.LABEL.itemsize}.get(path.name, len(content))
        content[random_.randrange(used)] ^= 1 << random_.randrange(8)
        path.write_bytes(content)
        again = FaissIndex(damaged, DIMENSION, small_partition=50)
        if await again.load(epoch="e", model_id="m"):
            assert again.position == IndexPosition("e", 9)
            assert [await again.search(partition, vector, limit=5, floor=0.5) for partition, vector in asked] == before
        else:
            refused += 1
            assert (len(again), again.position) == (0, None)
            again.add(1, "p", stored[0])  # and it can be built anew
            assert len(await again.search("p", stored[0], limit=1, floor=0.9)) == 1
        await again.aclose()
        shutil.rmtree(damaged)
    assert damaged_names == {rows.VECTORS, rows.LABELS, snapshot.NAME, "cells"}
    assert refused > 100  # damaged cells are made anew


@pytest.mark.parametrize("name", [rows.VECTORS, rows.LABELS, snapshot.NAME])
@pytest.mark.parametrize("damage", ["missing", "truncated", "empty", "a folder"])
async def test_a_missing_or_cut_file_is_refused(tmp_path: Path, name: str, damage: str) -> None:
    """It costs a rebuild, never an error."""
    index = await opened(tmp_path)
    for entry_id, vector in enumerate(vectors(20)):
        index.add(entry_id, "p", vector)
    index.advance(IndexPosition("e", 9))
    await index.save()
    await index.aclose()
    path = tmp_path / name
    content = path.read_bytes()
    path.unlink()
    if damage == "truncated":
        path.write_bytes(content[:100])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "a folder":
        path.mkdir()
    again = FaissIndex(tmp_path, DIMENSION)
    assert not await again.load(epoch="e", model_id="m")
    assert (len(again), again.position) == (0, None)
    await again.aclose()


@pytest.mark.parametrize("change", [{"format": 0}, {"dimension": 33}, {"rows": 10**9}, {"count": 19}])
async def test_a_snapshot_of_another_shape_is_refused_though_its_digest_is_right(
    tmp_path: Path, change: dict[str, int]
) -> None:
    """Made by an older or newer program, say."""
    index = await opened(tmp_path)
    for entry_id, vector in enumerate(vectors(20)):
        index.add(entry_id, "p", vector)
    index.advance(IndexPosition("e", 9))
    await index.save()
    await index.aclose()
    path = tmp_path / snapshot.NAME
    manifest = json.dumps(json.loads(json.loads(path.read_text())["manifest"]) | change)
    path.write_text(json.dumps({"sha256": snapshot.digest(manifest), "manifest": manifest}))
    again = FaissIndex(tmp_path, DIMENSION)
    assert not await again.load(epoch="e", model_id="m")
    await again.aclose()


async def test_nothing_of_the_index_is_readable_by_others(tmp_path: Path) -> None:
    """Vectors tell what was asked: the folder is 0700, its files 0600."""
    index = await opened(tmp_path / "index")
    index.add(1, "p", vectors(1)[0])
    index.advance(IndexPosition("e", 1))
    await index.save()
    assert (tmp_path / "index").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "index").iterdir()} == {0o600}
    await index.aclose()


async def test_a_partition_of_ten_costs_at_most_200_bytes_of_memory(tmp_path: Path) -> None:
    """Beside its rows: 100,000 conversations of ten turns must not fill a machine. Names are SHA-256 in hex."""
    index = await opened(tmp_path)
    stored = vectors(10)
    for number in range(3_000):
        for turn in range(10):
            index.add(number * 10 + turn, f"{number:064x}", stored[turn])
    held = sys.getsizeof(index._small) + sum(
        _rounded(sys.getsizeof(key)) + _rounded(sys.getsizeof(value)) for key, value in index._small.items()
    )
    assert held / 3_000 <= 200
    await index.aclose()


def _rounded(size: int) -> int:
    return -(-size // 16) * 16  # the allocator's step


async def test_a_name_that_a_row_cannot_carry_is_refused(tmp_path: Path) -> None:
    """Cutting it would put two partitions into one."""
    index = await opened(tmp_path)
    vector: Vector = vectors(1)[0]
    for name in ("x" * 65, "a\0"):
        with pytest.raises(ValueError, match="at most 64 bytes"):
            index.add(1, name, vector)
    with pytest.raises(ValueError, match="shape"):
        index.add(1, "p", vector[:5])
    assert len(index) == 0
    await index.aclose()


async def test_a_save_that_fails_leaves_the_last_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is still there, whole."""
    index = await opened(tmp_path)
    index.add(1, "p", vectors(1)[0])
    index.advance(IndexPosition("e", 1))
    await index.save()
    index.remove(1)
    index.advance(IndexPosition("e", 2))

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", fail)
        with pytest.raises(StoreError):
            await index.save()
    index.add(2, "p", vectors(1, seed=1)[0])  # must not take the row that the snapshot on disk still needs
    await index.aclose()
    again = FaissIndex(tmp_path, DIMENSION)
    assert await again.load(epoch="e", model_id="m")
    assert again.position == IndexPosition("e", 1)
    assert [c.entry_id for c in await again.search("p", vectors(1)[0], limit=2, floor=0.9)] == [1]
    await again.aclose()


async def test_a_snapshot_whose_position_was_altered_is_refused(tmp_path: Path) -> None:
    """It would skip changes: a purged entry would be found again."""
    index = await opened(tmp_path)
    index.advance(IndexPosition("e", 15_230))
    await index.save()
    await index.aclose()
    path = tmp_path / snapshot.NAME
    path.write_text(path.read_text().replace("15230", "15231"))
    again = FaissIndex(tmp_path, DIMENSION)
    assert not await again.load(epoch="e", model_id="m")
    await again.aclose()
