"""Vectors on disk, one row each, mapped into memory; beside each its entry and partition.

Two files that only grow: `vectors.f32` (float32, rows by dimension) and `labels.bin` (entry id, partition). Pages are shared
with the kernel, so a search reads them where they lie. Space is allocated before it is mapped: a full disk is an error of
`put`, where a hole in the file would kill the process on the first write to it.

A row that a snapshot on disk refers to is never written again until a newer snapshot is there; so the live files *are* the
snapshot's data, and saving writes none of them anew. It hashes by blocks of rows, and only blocks that have changed.

Rows that are freed are written again. A block of which none is left is given back to the file system (a hole in the file), which is
how the files become smaller without a row being moved; before it is used again its space is allocated anew.

Raised: `StoreError` by `put`.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from cache_service.embedding.base import Vector
from cache_service.errors import StoreError

Rows: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]
Matrix: TypeAlias = npt.NDArray[np.float32]
Labels: TypeAlias = npt.NDArray[Any]

VECTORS, LABELS = "vectors.f32", "labels.bin"
PARTITION_BYTES = 64  # a SHA-256 in hex
LABEL = np.dtype([("entry_id", "<i8"), ("partition", f"S{PARTITION_BYTES}")])
BLOCK = 4096  # rows hashed and given back together, 6 MB of MiniLM's vectors; whole pages in both files
_FIRST_ROWS = 1024
_LARGEST_STEP = 16_384  # rows; the files double up to this step (25 MB of MiniLM's vectors), then grow by it


class MappedRows:
    """Rows of two mapped files; nothing is opened before the first `put`."""

    def __init__(self, directory: Path, dimension: int) -> None:
        self._directory = directory
        self._dimension = dimension
        self.vectors: Matrix = np.empty((0, self._dimension), np.float32)
        self.labels: Labels = np.empty(0, LABEL)
        self.live: Flags = np.zeros(0, np.bool_)
        self._used = 0  # rows ever written; the files may hold more
        self._free: list[int] = []
        self._holes: list[int] = []  # blocks that nobody holds
        self._dug: set[int] = set()  # those of them without space
        self._changed: set[int] = set()  # blocks, since the snapshot that was begun last
        self._saved: Flags = self.live  # what the snapshot on disk refers to
        self._saving: Flags | None = None  # what the snapshot being written refers to
        self._ahead: Future[None] | None = None  # a thread that allocates the next step

    def put(self, entry_id: int, partition: bytes, vector: Vector) -> int:
        """Writes a new row and returns its number."""
        row = self._next()
        self.vectors[row] = vector
        self.labels[row] = (entry_id, partition)
        self.live[row] = True
        self._changed.add(row // BLOCK)
        return row

    def _next(self) -> int:
        if not self._free and self._holes:
            self._fill_hole()
        if self._free:
            return self._free.pop()
        if self._used == len(self.live):
            self._grow()
        self._used += 1
        return self._used - 1

    def grow_ahead(self, submit: Callable[[Callable[[], None]], Future[None]]) -> None:
        """Has a thread allocate the next large step once half of the last one is used: that takes milliseconds, on a busy disk a tenth of a second."""
        left = len(self.live) - self._used
        if self._ahead is None and len(self.live) >= _LARGEST_STEP and left <= _LARGEST_STEP // 2:
            self._ahead = submit(partial(self._allocate_step, len(self.live) + _LARGEST_STEP))

    def _allocate_step(self, rows: int) -> None:
        with suppress(StoreError):  # whoever needs the space finds out
            for name, size in self._sizes():
                with _opened(self._directory / name) as descriptor:
                    _make_as_large(descriptor, rows * size)

    def free(self, row: int) -> None:
        """Gives the row back; it is written again only when no snapshot refers to it."""
        self.live[row] = False
        self._changed.add(row // BLOCK)
        if not (_flagged(self._saved, row) or _flagged(self._saving, row)):
            self._free.append(row)

    def begin_snapshot(self) -> tuple[Flags, set[int]]:
        """The rows that are live now, which stay as they are until `end_snapshot`; and the blocks that changed since the last one."""
        self._saving = self.live[: self._used].copy()
        changed, self._changed = self._changed, set()
        return self._saving, changed

    def end_snapshot(self, changed: set[int], *, written: bool) -> None:
        """From now on only the snapshot that is on disk holds rows: the new one if it was written, else the one before."""
        if written and self._saving is not None:
            self._saved = self._saving
        else:
            self._changed |= changed
        self._saving = None
        held = self.live[: self._used].copy()
        held[: len(self._saved)] |= self._saved
        self._let_go(held)

    def _let_go(self, held: Flags) -> None:
        """Sorts out the rows that nobody holds: whole blocks become holes, which are dug by `dig`, the others are free."""
        blocks = len(held) // BLOCK
        empty = ~held[: blocks * BLOCK].reshape(blocks, BLOCK).any(axis=1)
        self._holes = np.flatnonzero(empty).tolist()
        free = ~held
        free[: blocks * BLOCK].reshape(blocks, BLOCK)[empty] = False
        self._free = np.flatnonzero(free)[::-1].tolist()  # the first ones first, so that the last blocks become empty

    def holes(self) -> list[int]:
        """Blocks that are yet to `dig`; no `put` takes them until `dug` says that it is done."""
        new = [block for block in self._holes if block not in self._dug]
        self._holes = [block for block in self._holes if block in self._dug]
        return new

    def dig(self, blocks: list[int]) -> None:
        """Gives their space back, in a thread. Where the file system can't, they only stay unused."""
        with suppress(OSError):
            for name, size in self._sizes():
                with (self._directory / name).open("r+b") as file:
                    for block in blocks:
                        with mmap.mmap(file.fileno(), BLOCK * size, offset=block * BLOCK * size) as mapped:
                            mapped.madvise(mmap.MADV_REMOVE)

    def dug(self, blocks: list[int]) -> None:
        """They may be used again."""
        self._holes += blocks
        self._dug.update(blocks)

    def _fill_hole(self) -> None:
        block = self._holes[-1]
        for name, size in self._sizes():
            _allocate(self._directory / name, block * BLOCK * size, BLOCK * size)
        self._dug.discard(self._holes.pop())
        self._free = list(range((block + 1) * BLOCK - 1, block * BLOCK - 1, -1))

    def adopt(self, vectors: Matrix, labels: Labels, live: Flags) -> None:
        """Takes over the files of a loaded snapshot, as `map_files` mapped them; only while nothing was put yet."""
        self._used = len(live)
        self.vectors, self.labels = vectors, labels
        self.live = np.zeros(len(vectors), np.bool_)
        self.live[: self._used] = live
        self._saved = live.copy()
        self._let_go(live)

    def _sizes(self) -> tuple[tuple[str, int], ...]:
        """The files, and the bytes of a row in each."""
        return (VECTORS, self._dimension * 4), (LABELS, LABEL.itemsize)

    def _grow(self) -> None:
        ahead, self._ahead = self._ahead, None
        if ahead is not None and not ahead.cancel():
            ahead.result()  # the same space, allocated once at a time
        rows = self._used + min(max(self._used, _FIRST_ROWS), _LARGEST_STEP)
        if self._used == 0:
            self._start_files()
        self.vectors, self.labels = map_files(self._directory, self._dimension, rows)
        live = np.zeros(rows, np.bool_)
        live[: len(self.live)] = self.live
        self.live = live

    def _start_files(self) -> None:
        """New, empty files: a search that still reads the old ones keeps them until it is done."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in (VECTORS, LABELS):
                (self._directory / name).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"index folder {self._directory}: {error.strerror}") from error


def map_files(directory: Path, dimension: int, rows: int) -> tuple[Matrix, Labels]:
    """Maps both files with room for `rows` rows; they grow if they are smaller. Raises StoreError."""
    if rows == 0:
        return np.empty((0, dimension), np.float32), np.empty(0, LABEL)
    vectors = _map(directory / VECTORS, rows * dimension * 4)
    labels = _map(directory / LABELS, rows * LABEL.itemsize)
    return np.frombuffer(vectors, np.float32).reshape(rows, dimension), np.frombuffer(labels, LABEL)


def sync_files(directory: Path) -> None:
    """Writes what the mappings changed to the disk. Raises OSError."""
    for name in (VECTORS, LABELS):
        descriptor = os.open(directory / name, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def cosines(vectors: Matrix, rows: Rows, vector: Vector) -> Vector:
    """The cosines of those rows, as fast as they can be had; they differ from `similarities` in the last digits."""
    if len(rows) <= BLOCK:
        return vectors.take(rows, axis=0) @ vector
    parts = (vectors.take(rows[start : start + BLOCK], axis=0) @ vector for start in range(0, len(rows), BLOCK))
    return np.concatenate(list(parts))


def similarities(vectors: Matrix, rows: Rows, vector: Vector) -> Vector:
    """The cosines of those rows: each from its own row alone, so that equal vectors have equal cosines (BLAS blocks rows)."""
    exact: Vector = (vectors.take(rows, axis=0) * vector).sum(axis=1, dtype=np.float32)
    return exact


def _map(path: Path, size: int) -> mmap.mmap:
    with _opened(path) as descriptor:
        _make_as_large(descriptor, size)
        return mmap.mmap(descriptor, size)


def _make_as_large(descriptor: int, size: int) -> None:
    """Space up to there. Only what is new: there may be holes before it."""
    held = os.fstat(descriptor).st_size
    if size > held:
        os.posix_fallocate(descriptor, held, size - held)


def _allocate(path: Path, start: int, size: int) -> None:
    """Space for those bytes where a hole was. Raises StoreError."""
    with _opened(path) as descriptor:
        os.posix_fallocate(descriptor, start, size)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """The file's descriptor; it is made if it isn't there. Raises StoreError, also for what fails with it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield descriptor
        finally:
            with suppress(OSError):
                os.close(descriptor)
    except OSError as error:
        raise StoreError(f"index file {path}: {error.strerror}") from error


def _flagged(flags: Flags | None, row: int) -> bool:
    return flags is not None and row < len(flags) and bool(flags[row])
