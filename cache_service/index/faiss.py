"""The vector index of one node: mapped rows, small partitions scanned exactly, large ones with a FAISS index of their own.

A partition is found by a digest of its name, and each row carries the whole name, compared once more before it is returned:
a candidate of another partition can't come out. Every similarity is computed from the stored vector at the very end, on the
loop, from rows that are live at that moment; what a thread proposed before is only a proposal.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np

from cache_service.embedding.base import Vector
from cache_service.index import snapshot
from cache_service.index.base import Candidate, IndexPosition
from cache_service.index.large_partition import LargePartition, best
from cache_service.index.rows import PARTITION_BYTES, Labels, MappedRows, Matrix, Rows, similarities

INLINE_ROWS = 500
"""Rows scanned on the loop, in about 0.1 ms; a thread costs as much."""

BLOCK = 16_384  # rows of one matrix product of `nearest`; 25 MB of MiniLM's
MARGIN = 1e-5
"""How far a proposal's similarity may be from the exact one: float32 sums of 384 products differ by 1e-6 at most."""

UNIT_TOLERANCE = 1e-3
"""How far a vector's length may be from 1."""


class FaissIndex:
    """A `VectorIndex` in `directory`. Call `load` before the first `add`: it also says whose vectors these are.

    A partition's name has at most 64 bytes (a SHA-256 in hex). Up to `small_partition` entries it costs about 180 bytes of
    memory beside its rows; above, a FAISS index, which is dropped again at half that size.
    """

    def __init__(self, directory: Path, dimension: int, small_partition: int = 2000) -> None:
        self._directory = directory
        self._dimension = dimension
        self._small_partition = small_partition
        self._model_id: str | None = None
        self._saving = asyncio.Lock()
        self._forget()

    def _forget(self) -> None:
        self._rows = MappedRows(self._directory, self._dimension)
        self._row_of: dict[int, int] = {}
        self._small: dict[int, bytes] = {}  # by digest of the partition: row numbers, uint32, never changed in place
        self._large: dict[int, LargePartition] = {}
        self._position: IndexPosition | None = None

    @property
    def position(self) -> IndexPosition | None:
        """What `advance` or `load` said last."""
        return self._position

    def __len__(self) -> int:
        return len(self._row_of)

    async def search(self, partition: str, vector: Vector, *, limit: int, floor: float) -> list[Candidate]:
        """A partition above `INLINE_ROWS` is searched in a thread, a smaller one at once."""
        vector = np.ascontiguousarray(vector, np.float32)
        label = _label(partition)
        proposed = await self._propose(_key(label), vector, limit, floor)
        return self._confirm(proposed, label, vector, limit, floor)

    async def _propose(self, key: int, vector: Vector, limit: int, floor: float) -> Rows:
        """Rows that may be candidates, all of the best among them."""
        large = self._large.get(key)
        if large is not None:
            return await asyncio.to_thread(large.search, self._rows, vector, limit=limit, floor=floor, margin=MARGIN)
        rows = np.frombuffer(self._small.get(key, b""), np.uint32).astype(np.int64)
        scan = partial(_scan, self._rows.vectors, rows, vector, limit, floor)
        return scan() if len(rows) <= INLINE_ROWS else await asyncio.to_thread(scan)

    def _confirm(self, rows: Rows, label: bytes, vector: Vector, limit: int, floor: float) -> list[Candidate]:
        """Those of the rows that are live in the partition now, with exact similarities, the best first."""
        stored = self._rows
        rows = rows[rows < len(stored.live)]
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
        """A block at a time; of what changes meanwhile some is found and some isn't."""
        vector = np.ascontiguousarray(vector, np.float32)
        stored = self._rows
        rows = await asyncio.to_thread(_scan_all, stored.vectors, np.flatnonzero(stored.live), vector, limit, floor)
        rows = rows[stored.live[rows]]
        cosines = similarities(stored.vectors, rows, vector).tolist()
        found = zip(cosines, stored.labels["entry_id"][rows].tolist(), strict=True)
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
        self.remove(entry_id)
        self._row_of[entry_id] = row
        self._put_in(_key(label), row)

    def remove(self, entry_id: int) -> None:
        """Frees the row, which waits until no snapshot refers to it."""
        row = self._row_of.pop(entry_id, None)
        if row is not None:
            self._take_out(_key(bytes(self._rows.labels["partition"][row])), row)
            self._rows.free(row)

    def _put_in(self, key: int, row: int) -> None:
        large = self._large.get(key)
        if large is not None:
            large.add(row)
            return
        rows = self._small.get(key, b"") + _pack([row])
        if len(rows) // 4 <= self._small_partition:
            self._small[key] = rows
        else:
            self._small.pop(key, None)
            self._large[key] = LargePartition(_unpack(rows), self._dimension)

    def _take_out(self, key: int, row: int) -> None:
        large = self._large.get(key)
        if large is None:
            rows = _pack(each for each in _unpack(self._small.pop(key)) if each != row)
        else:
            large.remove(row)
            if len(large) > self._small_partition // 2:
                return
            rows = _pack(self._large.pop(key).rows())
        if rows:
            self._small[key] = rows

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
            rows, position, model_id = self._rows, self._position, self._model_id
            if position is None or model_id is None:
                return
            live = rows.begin_snapshot()
            written = False
            try:
                await asyncio.to_thread(
                    snapshot.write, self._directory, position, model_id, rows.vectors, rows.labels, live
                )
                written = True
            finally:
                rows.end_snapshot(written=written)
                if rows is not self._rows:  # cleared meanwhile
                    snapshot.discard(self._directory)

    async def load(self, *, epoch: str, model_id: str) -> bool:
        """Maps the files, checks every live row's digest, and rebuilds the tables; never raises."""
        self._forget()
        self._model_id = model_id
        loaded = await asyncio.to_thread(
            snapshot.read, self._directory, dimension=self._dimension, epoch=epoch, model_id=model_id
        )
        if loaded is None:
            snapshot.discard(self._directory)
            return False
        self._row_of, groups = await asyncio.to_thread(_group, loaded.labels, np.flatnonzero(loaded.live))
        self._rows.adopt(loaded.vectors, loaded.labels, loaded.live)
        for key, rows in groups.items():
            if len(rows) // 4 <= self._small_partition:
                self._small[key] = rows
            else:
                self._large[key] = LargePartition(_unpack(rows), self._dimension)
        self._position = loaded.position
        return True

    async def aclose(self) -> None:
        """Waits for a save that is running; searches that run keep their mappings until they are done."""
        async with self._saving:
            self._forget()


def _scan(vectors: Matrix, rows: Rows, vector: Vector, limit: int, floor: float) -> Rows:
    return best(rows, vectors.take(rows, axis=0) @ vector, limit, floor, MARGIN)


def _scan_all(vectors: Matrix, rows: Rows, vector: Vector, limit: int, floor: float) -> Rows:
    """The best of the rows, read where they lie: they are nearly all of the matrix."""
    found = np.empty(0, np.int64)
    for start in range(0, len(vectors), BLOCK):
        cosines = vectors[start : start + BLOCK] @ vector
        inside = rows[np.searchsorted(rows, start) : np.searchsorted(rows, start + BLOCK)]
        found = np.concatenate([found, best(inside, cosines[inside - start], limit, floor, MARGIN)])
    return best(found, vectors.take(found, axis=0) @ vector, limit, floor, MARGIN)


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


def _group(labels: Labels, rows: Rows) -> tuple[dict[int, int], dict[int, bytes]]:
    """Entry to row, and packed rows by partition, of the live rows."""
    chosen = labels[rows]
    order = np.argsort(chosen["partition"], kind="stable")
    names, starts = np.unique(chosen["partition"][order], return_index=True)
    groups = np.split(rows[order].astype(np.uint32), starts)[1:]  # before the first start there is nothing
    row_of = dict(zip(chosen["entry_id"].tolist(), rows.tolist(), strict=True))
    return row_of, {_key(bytes(name)): group.tobytes() for name, group in zip(names, groups, strict=True)}
