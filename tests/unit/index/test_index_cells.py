"""A large partition: cells are made, filled, outgrown, saved and dropped in a worker's thread, and no search shows it."""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import signal
import struct
import sys
import threading
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_service.embedding.base import Vector
from cache_service.errors import StoreError
from cache_service.index import cells, large_partition, rows, snapshot
from cache_service.index.base import Candidate, IndexPosition
from cache_service.index.cells import Cells
from cache_service.index.faiss import FaissIndex
from cache_service.index.rows import Matrix
from tests.fakes.index import BruteForceIndex
from tests.unit.index.test_index_faiss import DIMENSION, opened, seeded, vectors

FS_IOC_FIEMAP, FIEMAP_FLAG_SYNC = 0xC020660B, 1
"""linux/fiemap.h: which pieces of the disk are a file's."""


def the_large(index: FaissIndex) -> large_partition.LargePartition:
    """The only large partition."""
    (large,) = index._large.values()
    return large


def bytes_on_disk(file: Path) -> int:
    """Space of its data alone: `st_blocks` also counts the list of where they are, which on ext4 takes a block of its own if they lie apart."""
    listed = 1024
    asked = bytearray(struct.pack("=QQLLLL", 0, 2**64 - 1, FIEMAP_FLAG_SYNC, 0, listed, 0) + bytes(listed * 56))
    with file.open("rb") as opened_file:
        try:
            fcntl.ioctl(opened_file, FS_IOC_FIEMAP, asked)
        except OSError:  # a file system in memory, which has no such list
            return file.stat().st_blocks * 512
    (found,) = struct.unpack_from("=L", asked, 20)
    assert found < listed
    return sum(struct.unpack_from("=Q", asked, 32 + 56 * number + 16)[0] for number in range(found))


def files(folder: Path) -> dict[Path, int]:
    """Those with cells, and when they were written."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("cells-*")}


async def filled(folder: Path, count: int, small_partition: int = 100) -> tuple[FaissIndex, Matrix]:
    """An index of one partition whose cells hold what they should."""
    index, stored = await opened(folder, small_partition), vectors(count)
    for entry_id, vector in enumerate(stored):
        index.add(entry_id, "p", vector)
    await index.settle()
    return index, stored


async def brute(stored: Matrix, gone: set[int] | None = None) -> BruteForceIndex:
    """The same entries, compared one by one."""
    model = BruteForceIndex(DIMENSION)
    for entry_id, vector in enumerate(stored):
        if entry_id not in (gone or ()):
            model.add(entry_id, "p", vector)
    return model


async def answers(index: FaissIndex | BruteForceIndex, asked: Matrix) -> list[list[Candidate]]:
    """What is found for each."""
    return [await index.search("p", vector, limit=5, floor=0.92) for vector in asked]


async def test_near_neighbours_are_found_in_a_partition_of_many_cells(tmp_path: Path) -> None:
    """Of those ≥ 0.92 at least 999 in 1,000, though a search looks into a tenth of the cells, which cut through the clusters.

    They are made of all rows at once, so that no thread decides how.
    """
    stored = vectors(20_000, together=4, apart=0.25)
    count = cells.centroids_for(len(stored))
    assert count >= 10 * cells.probes(len(stored), count)
    unsorted = await opened(tmp_path, len(stored))
    for entry_id, vector in enumerate(stored):
        unsorted.add(entry_id, "p", vector)
    unsorted.advance(IndexPosition("e", 1))
    await unsorted.save()
    await unsorted.aclose()
    index = await opened(tmp_path, 100)
    await index.settle()
    wanted = missed = 0
    for place in range(0, len(stored), 10):
        nearest = np.sort(stored @ stored[place])[::-1][:5]
        expected = int((nearest >= 0.92).sum())
        wanted += expected
        missed += expected - len(await index.search("p", stored[place], limit=5, floor=0.92))
    assert wanted > 7_000
    assert missed <= 0.001 * wanted
    await index.aclose()


@pytest.mark.parametrize("rows", [10, 800])
def test_few_rows_are_all_looked_at(rows: int) -> None:
    """Whatever cells they lie in, so nothing is missed."""
    most = cells.centroids_for(rows)
    assert all(cells.probes(rows, count) >= count for count in range(1, most + 1))


@pytest.mark.parametrize("rows", [10_000, 100_000, 1_000_000])
def test_many_rows_are_never_all_looked_at(rows: int) -> None:
    """A search takes about as long as before when a partition has grown a hundredfold."""
    count = cells.centroids_for(rows)
    looked_into = cells.probes(rows, count)
    assert looked_into >= cells.LEAST
    assert looked_into * (rows // count) <= 9_000


def looked_into(made: Cells, vector: Vector, floor: float) -> int:
    """How many cells FAISS looks into for that search."""
    before = faiss.cvar.indexIVF_stats.nlist
    made.propose(vector, 32, floor, None)
    return int(faiss.cvar.indexIVF_stats.nlist - before)


@pytest.fixture
def apart() -> Cells:
    """Cells around the axes and their opposites, 50 rows in each."""
    axes = np.concatenate([np.eye(DIMENSION), -np.eye(DIMENSION)]).astype(np.float32)
    made = cells.train(axes, len(axes), go_on=lambda: True)
    assert made is not None
    stored = np.repeat(axes, 50, axis=0)
    made.add(np.arange(len(stored)), stored, made.assign(stored))
    return made


def test_only_cells_that_a_near_row_can_lie_in_are_looked_into(apart: Cells) -> None:
    """One where the question lies at its centroid, all that may be worth it where it lies between many; more for farther rows."""
    count = 2 * DIMENSION
    most = cells.probes(len(apart), count)
    assert most < count
    assert looked_into(apart, np.eye(DIMENSION, dtype=np.float32)[3], 0.92) == 1
    assert looked_into(apart, np.full(DIMENSION, DIMENSION**-0.5, np.float32), 0.92) == most
    assert looked_into(apart, np.eye(DIMENSION, dtype=np.float32)[3], 0.8) == min(4 * most, count)
    assert looked_into(apart, np.eye(DIMENSION, dtype=np.float32)[3], 0.0) == count


def test_rows_far_below_the_floor_are_not_proposed(apart: Cells) -> None:
    """So no vector is read for most questions; those about the floor are, however few."""
    axis, other = np.eye(DIMENSION, dtype=np.float32)[:2]
    rows, estimates = apart.propose((axis + other) / np.sqrt(np.float32(2)), 128, 0.7, None)
    assert len(rows) == 100
    assert estimates.min() == pytest.approx(0.7, abs=0.05)
    rows, _ = apart.propose(np.full(DIMENSION, DIMENSION**-0.5, np.float32), 128, 0.92, None)
    assert not len(rows)


@pytest.mark.usefixtures("exact")
async def test_cells_grow_with_the_partition_and_are_dropped_with_it(tmp_path: Path) -> None:
    """Made anew at four times the size, dropped at half the setting, made again when it grows again: always the same answers."""
    index, stored = await filled(tmp_path, 6_000)
    large = the_large(index)
    assert large._cells is not None
    made_with = large._cells._index.nlist
    assert made_with >= cells.centroids_for(6_000) / cells.OUTGROWN
    assert await answers(index, stored[:50]) == await answers(await brute(stored), stored[:50])
    for entry_id in range(5_950):
        index.remove(entry_id)
    assert not index._large
    left = await brute(stored, set(range(5_950)))
    assert await answers(index, stored[5_940:]) == await answers(left, stored[5_940:])
    for entry_id in range(5_950):
        index.add(entry_id, "p", stored[entry_id])
    await index.settle()
    assert await answers(index, stored[:50]) == await answers(await brute(stored), stored[:50])
    await index.aclose()


@pytest.mark.usefixtures("exact")
async def test_what_changes_while_cells_are_made_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Added, removed, replaced, and rows used again by others: all while the worker is in the middle of it."""
    trained = cells.train
    in_the_middle, go_on = threading.Event(), threading.Event()

    def slowly(sample: Matrix, count: int, **given: Callable[[], bool]) -> Cells | None:
        made = trained(sample, count, **given)
        in_the_middle.set()
        go_on.wait()
        return made

    monkeypatch.setattr(cells, "train", slowly)
    index, stored, model = await opened(tmp_path, 100), vectors(1_000), BruteForceIndex(DIMENSION)

    def put(entry_id: int, number: int) -> None:
        for each in (index, model):
            each.add(entry_id, "p", stored[number])

    for number in range(101):
        put(number, number)
    await asyncio.to_thread(in_the_middle.wait)
    random_ = seeded(5)
    for _ in range(600):
        entry_id = random_.randrange(300)
        if random_.random() < 0.3:
            index.remove(entry_id)
            model.remove(entry_id)
        else:
            put(entry_id, random_.randrange(1_000))
    during = await answers(index, stored)
    go_on.set()
    await index.settle()
    assert the_large(index)._cells is not None
    expected = await answers(model, stored)
    assert during == expected
    assert await answers(index, stored) == expected
    await index.aclose()


@pytest.mark.usefixtures("exact")
async def test_a_row_that_is_being_moved_is_one_of_the_best_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is noted as pending until all are in the cells: found in both places, it must not push another out."""
    index, _ = await filled(tmp_path, 500)
    in_the_middle, go_on, chunks = threading.Event(), threading.Event(), 0
    assign = Cells.assign

    def stopping(made: Cells, vectors: Matrix) -> rows.Rows:
        nonlocal chunks
        chunks += 1
        if chunks == 2:
            in_the_middle.set()
            go_on.wait()
        return assign(made, vectors)

    monkeypatch.setattr(Cells, "assign", stopping)
    stored = vectors(large_partition.CHUNK * 4, seed=9, together=20)
    await index.settle()
    model = BruteForceIndex(DIMENSION)
    for entry_id, vector in enumerate(stored):
        model.add(500 + entry_id, "p", vector)
        index.add(500 + entry_id, "p", vector)
    await asyncio.to_thread(in_the_middle.wait)
    during = await answers(index, stored)
    go_on.set()
    assert during == await answers(model, stored)
    await index.aclose()


@given(steps=st.lists(st.integers(0, 9), max_size=60))
def test_what_changes_come_to_is_what_applying_them_one_by_one_leaves(steps: list[int]) -> None:
    """Rows that come and go, some of which were there before."""
    before, there, changes = set(range(5)), set(range(5)), array("q")
    for row in steps:
        changes.append(~row if row in there else row)
        there ^= {row}
    added, removed = large_partition._outcome(changes)
    assert removed == before & {~change for change in changes if change < 0}
    assert set(added) == {row for row in there if row not in before or row in removed}
    assert len(added) == len(set(added))


async def test_cells_are_made_anew_once_other_rows_lie_in_them(tmp_path: Path) -> None:
    """Centroids suit what they were made of: after a turnover of the whole partition they are made again, at the same size."""
    index, _ = await filled(tmp_path, 500)
    before = the_large(index)._cells
    for number, vector in enumerate(vectors(2_500, seed=9)):
        index.add(number % 500, "p", vector)
        if number % 100 == 99:
            await index.settle()
    assert the_large(index)._cells is not before
    await index.aclose()


@pytest.mark.usefixtures("exact")
async def test_many_changes_leave_the_cells_as_they_would_be_if_new(tmp_path: Path) -> None:
    """Rows are removed and used again by the same partition: no code of an old vector remains."""
    index, stored = await filled(tmp_path, 1_500)
    model = await brute(stored)
    new = vectors(3_000, seed=9)
    random_ = seeded(6)
    for number, vector in enumerate(new):
        entry_id = random_.randrange(1_500)
        for each in (index, model):
            each.add(entry_id, "p", vector)
        if number % 400 == 0:
            await index.settle()
    await index.settle()
    held = the_large(index)
    assert len(held) == 1_500
    assert sorted(held.rows()) == sorted(np.flatnonzero(index._rows.live).tolist())
    assert await answers(index, new[:200]) == await answers(model, new[:200])
    await index.aclose()


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("count", [50, 100, 101, 2_000])
async def test_a_restart_at_any_size_answers_as_before(tmp_path: Path, count: int) -> None:
    """A list, a list as large as may be, cells just made, cells of many rows; and then on from there."""
    index, stored = await filled(tmp_path, count)
    for entry_id in range(0, count, 11):
        index.remove(entry_id)
    index.advance(IndexPosition("e", 1))
    await index.save()
    before = await answers(index, stored[:50])
    await index.aclose()
    again = FaissIndex(tmp_path, DIMENSION, small_partition=100)
    assert await again.load(epoch="e", model_id="m")
    assert bool(again._large) == (count > 110)
    assert await answers(again, stored[:50]) == before
    for entry_id in range(0, count, 11):
        again.add(entry_id, "p", stored[entry_id])
    await again.settle()
    assert await answers(again, stored[:50]) == await answers(await brute(stored), stored[:50])
    await again.aclose()


@pytest.mark.parametrize("damage", ["missing", "cut", "empty", "another's", "a folder"])
@pytest.mark.usefixtures("exact")
async def test_damaged_cells_are_made_anew_from_the_vectors(tmp_path: Path, damage: str) -> None:
    """That costs time only; nothing is read from SQL again."""
    index, stored = await filled(tmp_path, 1_000)
    index.advance(IndexPosition("e", 1))
    await index.save()
    await index.aclose()
    (path,) = files(tmp_path)
    content = path.read_bytes()
    path.unlink()
    if damage == "a folder":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes({"cut": content[:-100], "empty": b"", "another's": b"IwFl" + content}[damage])
    again = FaissIndex(tmp_path, DIMENSION, small_partition=100)
    assert await again.load(epoch="e", model_id="m")
    expected = await answers(await brute(stored), stored[:50])
    assert await answers(again, stored[:50]) == expected
    await again.settle()
    assert the_large(again)._cells is not None
    assert await answers(again, stored[:50]) == expected
    await again.aclose()


async def test_a_file_of_another_dimension_holds_no_cells(tmp_path: Path) -> None:
    """Nor does one that isn't FAISS's, whatever its digest."""
    made = cells.train(vectors(100), 5, go_on=lambda: True)
    assert made is not None
    made.write(tmp_path / "cells")
    assert cells.read(tmp_path / "cells", DIMENSION) is not None
    assert cells.read(tmp_path / "cells", DIMENSION + 1) is None
    (tmp_path / "text").write_text("no index")
    assert cells.read(tmp_path / "text", DIMENSION) is None
    with pytest.raises(StoreError):
        made.write(tmp_path / "nowhere" / "cells")


async def test_a_save_writes_only_what_has_changed(tmp_path: Path) -> None:
    """Blocks that are as they were are not hashed again, nor are cells written again."""
    index = await opened(tmp_path, 100)
    stored = vectors(3 * rows.BLOCK)
    for entry_id, vector in enumerate(stored):
        index.add(entry_id, "large" if entry_id < 2_000 else f"p{entry_id % 200}", vector)
    await index.settle()
    index.advance(IndexPosition("e", 1))
    await index.save()
    before = files(tmp_path)
    hashed: list[int] = []
    digest = snapshot._digest

    def noted(vectors: Matrix, labels: rows.Labels, live: rows.Flags, number: int) -> str:
        hashed.append(number)
        return digest(vectors, labels, live, number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshot, "_digest", noted)
        index.remove(rows.BLOCK + 5)
        index.advance(IndexPosition("e", 2))
        await index.save()
    assert hashed == [1]
    assert files(tmp_path) == before
    await index.aclose()
    again = FaissIndex(tmp_path, DIMENSION, small_partition=100)
    assert await again.load(epoch="e", model_id="m")
    assert set(again.entry_ids()) == set(range(3 * rows.BLOCK)) - {rows.BLOCK + 5}
    await again.aclose()


async def test_space_of_what_was_removed_is_given_back_and_used_again(tmp_path: Path) -> None:
    """After a large purge the files shrink on disk; a later entry takes the hole, whose space is allocated first."""
    index = await opened(tmp_path)
    stored = vectors(4 * rows.BLOCK)
    for entry_id, vector in enumerate(stored):
        index.add(entry_id, f"p{entry_id % 500}", vector)
    index.advance(IndexPosition("e", 1))
    await index.save()
    await index.settle()  # the next step's space is there
    file = tmp_path / rows.VECTORS
    full = bytes_on_disk(file)
    for entry_id in range(rows.BLOCK, 4 * rows.BLOCK):
        index.remove(entry_id)
    index.advance(IndexPosition("e", 2))
    await index.save()
    assert full - bytes_on_disk(file) >= 3 * rows.BLOCK * DIMENSION * 4
    await index.aclose()
    again = FaissIndex(tmp_path, DIMENSION)
    assert await again.load(epoch="e", model_id="m")
    for entry_id in range(rows.BLOCK, 2 * rows.BLOCK):
        again.add(entry_id, f"p{entry_id % 500}", stored[entry_id])
    assert again._rows._used <= 4 * rows.BLOCK
    for entry_id in (5, rows.BLOCK + 5):
        assert [
            c.entry_id for c in await again.search(f"p{entry_id % 500}", stored[entry_id], limit=1, floor=0.99)
        ] == [entry_id]
    again.advance(IndexPosition("e", 3))
    await again.save()
    await again.aclose()


async def test_a_hole_that_cannot_be_filled_is_an_error_of_add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk again: writing into a hole would kill the process."""
    index = await opened(tmp_path)
    stored = vectors(2 * rows.BLOCK)
    for entry_id, vector in enumerate(stored):
        index.add(entry_id, f"p{entry_id % 500}", vector)
    for number in (1, 2):
        index.advance(IndexPosition("e", number))
        await index.save()
        for entry_id in range(rows.BLOCK):
            index.remove(entry_id)

    def full(_descriptor: int, _start: int, _size: int) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as broken:
        broken.setattr(os, "posix_fallocate", full)
        with pytest.raises(StoreError, match="No space left"):
            index.add(1, "p", stored[1])
    index.add(1, "p", stored[1])
    assert len(await index.search("p", stored[1], limit=1, floor=0.99)) == 1
    await index.aclose()


CHILD = """
import asyncio, sys
from pathlib import Path
from cache_service.index.base import IndexPosition
from cache_service.index.faiss import FaissIndex
from tests.unit.index.test_index_faiss import DIMENSION, vectors

async def main():
    stored = vectors(3000)
    index = FaissIndex(Path(sys.argv[1]), DIMENSION, small_partition=100)
    await index.load(epoch="e", model_id="m")
    number = index.position.number if index.position else 0
    while True:
        for _ in range(70):
            number += 1
            index.add(number % 2000, "p", stored[number % 3000])
            if number % 3 == 0:
                index.remove(number % 1000)
        index.advance(IndexPosition("e", number))
        await index.save()
        print(number, flush=True)

asyncio.run(main())
"""


@pytest.mark.usefixtures("exact")
async def test_a_process_killed_in_an_append_or_a_save_leaves_a_snapshot_that_is_true(tmp_path: Path) -> None:
    """Killed at any time, again and again: what loads is exactly what was there at its position."""
    stored = vectors(3_000)
    model, at = BruteForceIndex(DIMENSION), 0
    random_ = seeded(7)
    for _ in range(4):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHILD, str(tmp_path), stdout=asyncio.subprocess.PIPE
        )
        assert child.stdout is not None
        for _ in range(random_.randrange(1, 9)):
            await child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        await child.wait()
        index = FaissIndex(tmp_path, DIMENSION, small_partition=100)
        assert await index.load(epoch="e", model_id="m")
        position = index.position
        assert position is not None
        while at < position.number:
            at += 1
            model.add(at % 2000, "p", stored[at % 3000])
            if at % 3 == 0:
                model.remove(at % 1000)
        assert set(index.entry_ids()) == set(model.entry_ids())
        asked = stored[::60]
        assert await answers(index, asked) == await answers(model, asked)
        await index.aclose()


def anonymous() -> int:
    """Bytes of this process that no file backs."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="another allocator than glibc's")
def test_a_thread_gives_the_end_of_its_heap_back() -> None:
    """Which `malloc_trim` leaves: a worker would keep what training took for as long as it lives."""

    def used_and_freed() -> tuple[int, int]:
        np.ones(2_000_000)  # is mapped; once it is freed, smaller blocks come from the heap
        blocks = [np.ones(500_000) for _ in range(5)]
        del blocks
        before = anonymous()
        cells.return_memory()
        return before, anonymous()

    with ThreadPoolExecutor(1) as thread:
        before, after = thread.submit(used_and_freed).result()
    assert before - after > 16_000_000
