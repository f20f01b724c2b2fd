"""The vector index of one node: mapped rows, small partitions scanned exactly, large ones through cells (see `large_partition`).

A partition is found by a digest of its name, and each row carries the whole name, compared once more before it is returned:
a candidate of another partition can't come out. Every similarity is computed from the stored vector at the very end, on the
loop, from rows that are live at that moment; what cells or a thread proposed before is only a proposal.

One thread of low priority makes cells and fills them; a search never waits for it longer than a few milliseconds.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

import faiss
import numpy as np
import numpy.typing as npt

from cache_service.embedding.base import Vector
from cache_service.index import snapshot
from cache_service.index.base import Candidate, IndexPosition
from cache_service.index.cells import return_memory
from cache_service.index.entries import EntryRows
from cache_service.index.large_partition import LargePartition, best
from cache_service.index.rows import PARTITION_BYTES, Labels, MappedRows, Matrix, Rows, cosines, similarities

log = logging.getLogger(__name__)

INLINE_ROWS = 500
"""Rows scanned on the loop, in about 0.1 ms; a thread costs as much."""

SLOW = 0.002
"""Seconds. Cells are searched on the loop, in 0.1 to 0.3 ms, unless that took longer, because vectors came from the disk, say."""

NOT_ON_THE_LOOP = 100  # searches after a slow one that are done in a thread

BLOCK = 16_384  # rows of one matrix product of `nearest`; 25 MB of MiniLM's
MOSTLY = (
    8  # where one of so many rows is wanted or more, all are multiplied where they lie: gathering those takes as long
)
MARGIN = 1e-5
"""How far a proposal's similarity may be from the exact one: float32 sums of 384 products differ by 1e-6 at most."""

UNIT_TOLERANCE = 1e-3
"""How far a vector's length may be from 1."""

NICENESS = 10  # of the thread that makes cells: serving goes first


class FaissIndex:
    """A `VectorIndex` in `directory`. Call `load` before the first `add`: it also says whose vectors these are.

    A partition's name has at most 64 bytes (a SHA-256 in hex). Up to `small_partition` entries it costs about 180 bytes of
    memory beside its rows; above, cells of 64 bytes a row, which are dropped again at half that size.
    """

    def __init__(
        self,
        directory: Path,
        dimension: int,
        small_partition: int = 2000,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self._dimension = dimension
        self._small_partition = small_partition
        self._monotonic = monotonic
        self._model_id: str | None = None
        self._saving = asyncio.Lock()
        self._worker: ThreadPoolExecutor | None = None
        self._large: dict[int, LargePartition] = {}
        self._forget()

    def _forget(self) -> None:
        for large in self._large.values():
            large.close()
        self._rows = MappedRows(self._directory, self._dimension)
        self._row_of = EntryRows()
        self._small: dict[int, bytes] = {}  # by digest of the partition: row numbers, uint32, never changed in place
        self._large = {}
        self._blocks: list[str] = []  # digests in the snapshot on disk
        self._position: IndexPosition | None = None
        self._in_threads = 0

    @property
    def position(self) -> IndexPosition | None:
        """What `advance` or `load` said last."""
        return self._position

    def __len__(self) -> int:
        return len(self._row_of)

    async def search(self, partition: str, vector: Vector, *, limit: int, floor: float) -> list[Candidate]:
        """At once where that takes less than a millisecond, else in a thread."""
        vector = np.ascontiguousarray(vector, np.float32)
        label = _label(partition)
        proposed = await self._propose(_key(label), vector, limit, floor)
        return self._confirm(proposed, label, vector, limit, floor)

    async def _propose(self, key: int, vector: Vector, limit: int, floor: float) -> Rows:
        """Rows that may be candidates, the best among them."""
        large = self._large.get(key)
        if large is not None:
            return await self._propose_of_large(large, vector, limit, floor)
        rows = np.frombuffer(self._small.get(key, b""), np.uint32).astype(np.int64)
        scan = partial(_scan, self._rows.vectors, rows, vector, limit, floor)
        return scan() if len(rows) <= INLINE_ROWS else await asyncio.to_thread(scan)

    async def _propose_of_large(self, large: LargePartition, vector: Vector, limit: int, floor: float) -> Rows:
        if self._in_threads:
            self._in_threads -= 1
        else:
            faiss.omp_set_num_threads(1)  # of this thread's calls: a second core is not worth waking for 0.1 ms
            started = self._monotonic()
            found = large.search_now(self._rows, vector, limit=limit, floor=floor, margin=MARGIN)
            if self._monotonic() - started > SLOW:
                self._in_threads = NOT_ON_THE_LOOP
            if found is not None:
                return found
        return await asyncio.to_thread(large.search, self._rows, vector, limit=limit, floor=floor, margin=MARGIN)

    def _confirm(self, rows: Rows, label: bytes, vector: Vector, limit: int, floor: float) -> list[Candidate]:
        """Those of the rows that are live in the partition now, with exact similarities, the best first."""
        if not len(rows):
            return []
        stored = self._rows
        rows = np.unique(rows[rows < len(stored.live)])  # one that was just moved may have been found twice
        rows = rows[stored.live[rows] & (stored.labels["partition"][rows] == label)]
        found = [
            (-min(1.0, max(-1.0, cosine)), entry_id)
            for cosine, entry_id in zip(
                similarities(stored.vectors, rows, vector).tolist(),
                stored.labels["entry_id"][rows].tolist(),
                strict=True,
            )
            if cosine >= floor
        ]
        return [Candidate(entry_id, -negated) for negated, entry_id in sorted(found)[:limit]]

    async def nearest(self, vector: Vector, *, limit: int, floor: float) -> list[Candidate]:
        """Large partitions propose as in a search; of all others every row is compared. Of what changes meanwhile some is found and some isn't."""
        vector = np.ascontiguousarray(vector, np.float32)
        stored, large, small = self._rows, list(self._large.values()), list(self._small.values())
        rows = await asyncio.to_thread(_nearest, stored, large, small, vector, limit, floor)
        rows = rows[rows < len(stored.live)]
        rows = rows[stored.live[rows]]
        exact = similarities(stored.vectors, rows, vector).tolist()
        found = zip(exact, stored.labels["entry_id"][rows].tolist(), strict=True)
        best_first = sorted((-min(1.0, max(-1.0, cosine)), entry_id) for cosine, entry_id in found if cosine >= floor)
        return [Candidate(entry_id, -negated) for negated, entry_id in best_first[:limit]]

    def add(self, entry_id: int, partition: str, vector: Vector) -> None:
        """Writes a row. Raises StoreError where the disk is full; ValueError for another dimension or too long a name."""
        vector = np.asarray(vector, np.float32)
        if vector.shape != (self._dimension,):
            raise ValueError(f"the vector of entry {entry_id} has shape {vector.shape}, not ({self._dimension},)")
        if not abs(float(np.linalg.norm(vector)) - 1.0) <= UNIT_TOLERANCE:  # a NaN fails the comparison too
            self.remove(entry_id)
            return
        label = _label(partition)
        row = self._rows.put(entry_id, label, vector)  # first, since a full disk must leave the entry as it was
        self._rows.grow_ahead(self._in_the_worker)
        self.remove(entry_id)
        self._row_of.put(entry_id, row)
        self._put_in(_key(label), row)

    def remove(self, entry_id: int) -> None:
        """Frees the row, which waits until no snapshot refers to it."""
        row = self._row_of.pop(entry_id)
        if row is not None:
            self._take_out(_key(bytes(self._rows.labels["partition"][row])), row)
            self._rows.free(row)

    def _put_in(self, key: int, row: int) -> None:
        large = self._large.get(key)
        if large is not None:
            large.add(row)
            self._tend(large)
            return
        rows = self._small.get(key, b"") + _pack([row])
        if len(rows) // 4 <= self._small_partition:
            self._small[key] = rows
        else:
            self._small.pop(key, None)
            self._large[key] = LargePartition(rows, self._dimension)
            self._tend(self._large[key])

    def _take_out(self, key: int, row: int) -> None:
        large = self._large.get(key)
        if large is None:
            rows = _pack(each for each in _unpack(self._small.pop(key)) if each != row)
        else:
            large.remove(row)
            if len(large) > self._small_partition // 2:
                self._tend(large)
                return
            rows = _pack(self._large.pop(key).rows())
            large.close()
        if rows:
            self._small[key] = rows

    def _tend(self, large: LargePartition) -> None:
        """Has the worker bring the partition's cells up to date where that is worth it."""
        if large.queued or not large.behind:
            return
        large.queued = True
        self._in_the_worker(partial(_work, large, self._rows))

    def _in_the_worker(self, work: Callable[[], None]) -> Future[None]:
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, "index", initializer=_give_way)
        return self._worker.submit(work)

    async def settle(self) -> None:
        """Waits until the cells hold what was added so far, apart from the few rows that aren't worth it yet."""
        if self._worker is not None:
            await asyncio.wrap_future(self._worker.submit(int))

    def advance(self, position: IndexPosition) -> None:
        """Only noted; `save` writes it."""
        self._position = position

    def clear(self) -> None:
        """Also discards the snapshot."""
        self._forget()
        snapshot.discard(self._directory)

    def entry_ids(self) -> Iterable[int]:
        """A copy, so that changes meanwhile do no harm."""
        return list(self._row_of)

    def partition_of(self, entry_id: int) -> str | None:
        """Read from the entry's row."""
        row = self._row_of.get(entry_id)
        return None if row is None else bytes(self._rows.labels["partition"][row]).decode()

    async def save(self) -> None:
        """As promised; without a position or before `load` there is nothing that a later load could trust: nothing is written."""
        # a caller that goes away must not leave a second save writing beside the first one's thread
        await asyncio.shield(asyncio.ensure_future(self._save()))

    async def _save(self) -> None:
        async with self._saving:
            rows, large = self._rows, dict(self._large)
            if self._position is None or self._model_id is None:
                return
            live, changed = rows.begin_snapshot()
            content = snapshot.Content(self._position, self._model_id, rows.vectors, rows.labels, live, self._blocks)
            blocks: list[str] | None = None
            try:
                blocks = await asyncio.to_thread(_write, self._directory, content, changed, large, rows)
            finally:
                rows.end_snapshot(changed, written=blocks is not None)
                if rows is not self._rows:  # cleared meanwhile
                    snapshot.discard(self._directory)
            if rows is self._rows:
                self._blocks = blocks
                holes = rows.holes()
                await asyncio.to_thread(rows.dig, holes)
                rows.dug(holes)

    async def load(self, *, epoch: str, model_id: str) -> bool:
        """Maps the files, checks every live row's digest, and rebuilds the tables; never raises."""
        self._forget()
        self._model_id = model_id
        loaded = await asyncio.to_thread(
            _load, self._directory, self._dimension, self._small_partition, epoch, model_id
        )
        if loaded is None:
            snapshot.discard(self._directory)
            return False
        content, self._row_of, self._small, self._large = loaded
        self._rows.adopt(content.vectors, content.labels, content.live)
        self._blocks = content.blocks
        for each in self._large.values():
            self._tend(each)
        self._position = content.position
        return True

    async def aclose(self) -> None:
        """Waits for a save and for the worker's step that are running; searches keep their mappings until they are done."""
        async with self._saving:
            self._forget()
            worker, self._worker = self._worker, None
            if worker is not None:
                await asyncio.to_thread(partial(worker.shutdown, cancel_futures=True))


def _work(large: LargePartition, stored: MappedRows) -> None:
    large.queued = False  # what comes from here on is seen by this round or makes another
    try:
        large.work(stored)
    except Exception:  # it is searched all the same, only more slowly; the next change tries again
        log.exception("the cells of a large partition could not be brought up to date")


def _give_way() -> None:
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
    faiss.omp_set_num_threads(1)


def _write(
    directory: Path, content: snapshot.Content, changed: set[int], large: dict[int, LargePartition], stored: MappedRows
) -> list[str]:
    """The cells first, for the snapshot names them. Raises StoreError."""
    written = {key: each.write(stored, directory) for key, each in large.items()}
    cells = {key: name for key, name in written.items() if name is not None}
    return snapshot.write(directory, replace(content, cells=cells), changed)


Loaded: TypeAlias = tuple[snapshot.Content, EntryRows, dict[int, bytes], dict[int, LargePartition]]
"""What `snapshot` read, and the tables: entry to row, small partitions, large ones."""


def _load(directory: Path, dimension: int, small_partition: int, epoch: str, model_id: str) -> Loaded | None:
    """All in one thread, which then gives back what it needed for that; None if there is no snapshot to trust."""
    loaded = snapshot.read(directory, dimension=dimension, epoch=epoch, model_id=model_id)
    made = None if loaded is None else (loaded, *_tables(loaded, directory, dimension, small_partition))
    return_memory()
    return made


def _tables(
    loaded: snapshot.Content, directory: Path, dimension: int, small_partition: int
) -> tuple[EntryRows, dict[int, bytes], dict[int, LargePartition]]:
    """Large partitions have the cells of the snapshot; where those are damaged or gone the worker makes them anew."""
    row_of, small = _group(loaded.labels, np.flatnonzero(loaded.live))
    large = {}
    for key in [key for key, rows in small.items() if len(rows) // 4 > small_partition]:
        found = snapshot.read_cells(directory, loaded.cells[key], dimension) if key in loaded.cells else None
        large[key] = LargePartition(small.pop(key), dimension, found)
    return row_of, small, large


def _scan(vectors: Matrix, rows: Rows, vector: Vector, limit: int, floor: float) -> Rows:
    return best(rows, cosines(vectors, rows, vector), limit, floor, MARGIN)[0]


def _nearest(
    stored: MappedRows, large: list[LargePartition], small: list[bytes], vector: Vector, limit: int, floor: float
) -> Rows:
    """The best rows of all partitions."""
    found = [each.search(stored, vector, limit=limit, floor=floor, margin=MARGIN) for each in large]
    rows = np.sort(np.frombuffer(b"".join(small), np.uint32).astype(np.int64))
    scan = _scan_all if len(rows) * MOSTLY > len(stored.vectors) else _scan
    found.append(scan(stored.vectors, rows, vector, limit, floor))
    return _scan(stored.vectors, np.unique(np.concatenate(found)), vector, limit, floor)


def _scan_all(vectors: Matrix, rows: Rows, vector: Vector, limit: int, floor: float) -> Rows:
    """The best of the rows, read where they lie: they are nearly all of the matrix."""
    found = np.empty(0, np.int64)
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK] @ vector
        inside = rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + BLOCK)]
        found = np.concatenate([found, best(inside, block[inside - start], limit, floor, MARGIN)[0]])
    return best(found, cosines(vectors, found, vector), limit, floor, MARGIN)[0]


def _label(partition: str) -> bytes:
    """The partition's name as a row carries it. Raises ValueError if it can't."""
    label = partition.encode()
    if len(label) > PARTITION_BYTES or b"\0" in label:
        raise ValueError(f"a partition's name has at most {PARTITION_BYTES} bytes and no NUL")
    return label


def _key(label: bytes) -> int:
    """128 bits as an int: the smallest object Python keeps a digest in (48 bytes)."""
    return int.from_bytes(hashlib.blake2b(label, digest_size=16).digest(), "little")


def _pack(rows: Iterable[int]) -> bytes:
    return np.fromiter(rows, np.uint32).tobytes()


def _unpack(rows: bytes) -> list[int]:
    return np.frombuffer(rows, np.uint32).tolist()  # type: ignore[no-any-return]


def _group(labels: Labels, rows: Rows) -> tuple[EntryRows, dict[int, bytes]]:
    """Entry to row, and packed rows by partition, of the live rows."""
    row_of = EntryRows.of(labels["entry_id"][rows], rows)
    names = labels["partition"][rows]
    order = np.argsort(_mixed(names), kind="stable")  # names themselves are slow to sort
    names = names[order]
    starts = np.flatnonzero(np.concatenate([[True], names[1:] != names[:-1]])) if len(rows) else rows
    groups: dict[int, bytes] = {}
    for start, group in zip(starts, np.split(rows[order].astype(np.uint32), starts)[1:], strict=True):
        key = _key(bytes(names[start]))
        groups[key] = groups.get(key, b"") + group.tobytes()  # two names that mix alike may alternate
    return row_of, groups


def _mixed(names: npt.NDArray[np.bytes_]) -> npt.NDArray[np.uint64]:
    """64 bits of each name."""
    words = np.ascontiguousarray(names).view(np.uint64).reshape(len(names), PARTITION_BYTES // 8)
    factors = np.random.default_rng(1).integers(1, 2**63, PARTITION_BYTES // 8, np.uint64) | np.uint64(1)
    mixed: npt.NDArray[np.uint64] = (words * factors).sum(axis=1, dtype=np.uint64)
    return mixed
