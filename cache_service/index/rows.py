"""Vectors on disk, one row each, mapped into memory; beside each its entry and partition.

Two files that only grow: `vectors.f32` (float32, rows by dimension) and `labels.bin` (entry id, partition). Pages are shared
with the kernel, so a search reads them where they lie. Space is allocated before it is mapped: a full disk is an error of
`put`, where a hole in the file would kill the process on the first write to it.

A row that a snapshot on disk refers to is never written again until a newer snapshot is there; so the live files *are* the
snapshot's data, and saving writes none of them anew.

Raised: `StoreError` by `put`.
"""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
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
_FIRST_ROWS = 1024
_LARGEST_STEP = 65_536  # rows; the files double up to this step (100 MB of MiniLM's vectors), then grow by it


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
        self._saved: Flags = self.live  # what the snapshot on disk refers to
        self._saving: Flags | None = None  # what the snapshot being written refers to

    def put(self, entry_id: int, partition: bytes, vector: Vector) -> int:
        """Writes a new row and returns its number."""
        if self._free:
            row = self._free.pop()
        else:
            if self._used == len(self.live):
                self._grow()
            row = self._used
            self._used += 1
        self.vectors[row] = vector
        self.labels[row] = (entry_id, partition)
        self.live[row] = True
        return row

    def free(self, row: int) -> None:
        """Gives the row back; it is written again only when no snapshot refers to it."""
        self.live[row] = False
        if not (_flagged(self._saved, row) or _flagged(self._saving, row)):
            self._free.append(row)

    def begin_snapshot(self) -> Flags:
        """The rows that are live now, which stay as they are until `end_snapshot`."""
        self._saving = self.live[: self._used].copy()
        return self._saving

    def end_snapshot(self, *, written: bool) -> None:
        """From now on only the snapshot that is on disk holds rows: the new one if it was written, else the one before."""
        if written and self._saving is not None:
            self._saved = self._saving
        self._saving = None
        held = self.live[: self._used].copy()
        held[: len(self._saved)] |= self._saved
        self._free = np.flatnonzero(~held).tolist()

    def adopt(self, vectors: Matrix, labels: Labels, live: Flags) -> None:
        """Takes over the files of a loaded snapshot, as `map_files` mapped them; only while nothing was put yet."""
        self._used = len(live)
        self.vectors, self.labels = vectors, labels
        self.live = np.zeros(len(vectors), np.bool_)
        self.live[: self._used] = live
        self._saved = live.copy()
        self._free = np.flatnonzero(~live).tolist()

    def _grow(self) -> None:
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


def similarities(vectors: Matrix, rows: Rows, vector: Vector) -> Vector:
    """The cosines of those rows: each from its own row alone, so that equal vectors have equal cosines (BLAS blocks rows)."""
    cosines: Vector = (vectors.take(rows, axis=0) * vector).sum(axis=1, dtype=np.float32)
    return cosines


def _map(path: Path, size: int) -> mmap.mmap:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
            return mmap.mmap(descriptor, size)
        finally:
            with suppress(OSError):
                os.close(descriptor)
    except OSError as error:
        raise StoreError(f"index file {path}: {error.strerror}") from error


def _flagged(flags: Flags | None, row: int) -> bool:
    return flags is not None and row < len(flags) and bool(flags[row])
