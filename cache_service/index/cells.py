"""The cells of one large partition: FAISS's inverted lists of 1-bit codes, which propose rows; how similar they are is computed later.

Each row lies in the cell of the nearest of about 2 √n centroids (IVF), as 48 bytes of signs and two numbers (RaBitQ; Gao and Long
2024): 64 bytes a row with its number. A search looks into the few cells that near rows can lie in and estimates cosines there. An
estimate is off by about 1/√d (0.04 at 384 dimensions, measured; 0.012 where the cosine is ≥ 0.92), so a proposal is many times what is
wanted, and every vector proposed is read.

One thread at a time may change cells, one at a time search them; searches must not run beside `add`, `remove` and `take_packed`.

Raised: `StoreError` by `write`.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import faiss
import numpy as np

from cache_service.embedding.base import Vector
from cache_service.errors import StoreError
from cache_service.index.rows import Matrix, Rows

Selector: TypeAlias = Any
"""FAISS's choice of rows, with the objects it refers to."""

Lists: TypeAlias = Any
"""FAISS's inverted lists, of which its type stubs say too little."""

LEAST, USUAL = 12, 24
"""Cells looked into for neighbours ≥ NEAR, if their centroids are that near; four times as many for farther ones down to FAR, all of them below."""

A_SEARCH, CHEAP, OF_A_CELL = 8600, 3000, 36
"""What a search is worth, counted in codes (12 ns): large cells are fewer than usual up to the first number, small ones more up to the
second; each cell costs the third besides."""

NEAR, FAR = 0.9, 0.7
SAMPLE = 40  # rows a centroid is trained on; FAISS wants 39
ROUNDS = 8  # of k-means; more change the recall by less than 0.0001
QUERY_BITS = 4  # of each of the query's numbers; more are no more exact than the codes
SPARE = 32  # a packed list has room for one row more in so many, before FAISS doubles it; so many are doubled before all are packed again
OUTGROWN = 2  # centroids wanted over those there are, from which on cells are made anew: four times the rows

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # as malloc.h numbers them
LARGE_BLOCK = 16 * 1024 * 1024  # bytes; from here on a block is mapped, and unmapped when it is freed
SMALL_BLOCK = 128 * 1024  # bytes; freeing 64 KB or more makes glibc look at the end of the heap


def centroids_for(rows: int) -> int:
    """How many a partition of that size wants."""
    return max(1, round(2 * math.sqrt(rows)))


def probes(rows: int, cells: int) -> int:
    """How many of so many cells a search for near neighbours looks into, or all if they are fewer: all of 800 rows, 16 of 2,000 cells of a million."""
    work = OF_A_CELL + rows // cells
    return max(LEAST, min(USUAL, A_SEARCH // work), CHEAP // work)


def error(dimension: int) -> float:
    """How far an estimate may be off for a row still to be found: more than two standard deviations."""
    return 2.5 / math.sqrt(dimension)


def spread(dimension: int) -> float:
    """How much farther than the nearest centroid that of a cell may be, for a neighbour ≥ NEAR to lie in it.

    By how much is (question - neighbour) · (one centroid - another): the product of their lengths, 0.5, times 1/√d unless directions
    conspire. This is ten times that: of 30,947 neighbours ≥ 0.92 among 10,000 prompts one lay farther, where half of all questions
    have seven centroids within.
    """
    return 5 / math.sqrt(dimension)


class Cells:
    """See the module."""

    def __init__(self, index: faiss.IndexIVFRaBitQ) -> None:
        self._index: Any = index  # the type stubs lack what takes pointers, which is what a search has time for
        self._quantizer: Any = faiss.downcast_index(index.quantizer)
        self._sizes = self._counted()
        self._room = self._sizes.copy()  # rows that each list can take; FAISS has doubled the lists that hold more
        self._options = faiss.IVFRaBitQSearchParameters()
        self._options.qb = QUERY_BITS
        self._error, self._spread = error(index.d), spread(index.d)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dimension(self) -> int:
        """Of the vectors."""
        return int(self._index.d)

    def outgrown(self, rows: int) -> bool:
        """Whether a partition of that size wants more cells than these."""
        return centroids_for(rows) > OUTGROWN * int(self._index.nlist)

    def assign(self, vectors: Matrix) -> Rows:
        """The cell of each vector; may run beside searches."""
        cells: Rows = self._quantizer.search(vectors, 1)[1][:, 0].copy()
        return cells

    def add(self, rows: Rows, vectors: Matrix, cells: Rows) -> None:
        """Puts rows into their cells, as `assign` chose them."""
        pointers = (faiss.swig_ptr(array) for array in (vectors, rows, cells))
        self._index.add_core(len(rows), *pointers)
        self._sizes += np.bincount(cells, minlength=len(self._sizes))

    def remove(self, rows: Rows) -> None:
        """Takes rows out, wherever they are: looks at every row's number, 10 ms at a million."""
        self._index.remove_ids(faiss.IDSelectorBatch(rows))
        self._sizes = self._counted()

    def _counted(self) -> Rows:
        lists: Any = self._index.invlists
        return np.array([lists.list_size(cell) for cell in range(self._index.nlist)], np.int64)

    @property
    def is_loose(self) -> bool:
        """Whether so many rows lie in doubled lists that a packed copy is worth its time, 0.1 s at a million."""
        return int(self._sizes[self._sizes > self._room].sum()) > len(self) // SPARE

    def rows(self) -> Rows:
        """Every row there is."""
        lists: Any = self._index.invlists
        found = [
            faiss.rev_swig_ptr(lists.get_ids(cell), size) for cell, size in enumerate(self._sizes.tolist()) if size
        ]
        return np.concatenate([np.empty(0, np.int64), *found])

    def propose(self, vector: Vector, wanted: int, floor: float, selector: Selector | None) -> tuple[Rows, Vector]:
        """Up to `wanted` rows with the largest estimates, largest first, and these; none that is too far below the floor to be above it."""
        cells, cosines = self._near(vector, floor)
        options = self._options
        options.nprobe = len(cells)
        options.sel = None if selector is None else selector[0]
        scores, rows = np.empty(wanted, np.float32), np.empty(wanted, np.int64)
        pointers = (faiss.swig_ptr(array) for array in (cells, cosines, scores, rows))
        self._index.search_preassigned_c(1, faiss.swig_ptr(vector), wanted, *pointers, False, options)
        count = np.count_nonzero(scores >= floor - self._error)  # mostly 0; FAISS fills up with the least of numbers
        return rows[:count], scores[:count]

    def _near(self, vector: Vector, floor: float) -> tuple[Rows, Vector]:
        """The cells to look into, the nearest first, and the cosines of their centroids; in place of those that aren't worth it -1."""
        count = int(self._index.nlist)
        most = self._probes(floor, count)
        cosines, cells = np.empty(most, np.float32), np.empty(most, np.int64)
        self._quantizer.search_c(1, faiss.swig_ptr(vector), most, faiss.swig_ptr(cosines), faiss.swig_ptr(cells))
        if floor >= NEAR and most < count:
            cells[cosines < cosines[0] - self._spread] = -1
        return cells, cosines

    def _probes(self, floor: float, cells: int) -> int:
        near = probes(len(self), cells)
        return min(cells, near if floor >= NEAR else 4 * near if floor >= FAR else cells)

    def packed(self) -> Lists:
        """A copy of the lists with little room to spare: FAISS doubles a list that is full. May run beside searches."""
        lists: Any = self._index.invlists
        copy: Lists = faiss.ArrayInvertedLists(self._index.nlist, lists.code_size)
        for cell, size in enumerate(self._sizes.tolist()):
            copy.resize(cell, _with_room(size))
            copy.resize(cell, size)  # keeps the room
            if size:
                copy.update_entries(cell, 0, size, lists.get_ids(cell), lists.get_codes(cell))
        return copy

    def take_packed(self, lists: Lists) -> None:
        """Puts a copy that `packed` made in place of the lists; nothing may have changed meanwhile."""
        lists.this.disown()
        self._index.replace_invlists(lists, True)
        self._room = _with_room(self._sizes)

    def write(self, path: Path) -> None:
        """To a file; may run beside searches. Raises StoreError."""
        try:
            faiss.write_index(self._index, str(path))
        except RuntimeError as exc:  # FAISS's only kind
            raise StoreError(f"index file {path}: {exc}") from exc


def _with_room(size: Any) -> Any:
    """For how many rows a packed list of that size has room; also for several sizes at once."""
    return size + size // SPARE + 1


def read(path: Path, dimension: int) -> Cells | None:
    """Cells from a file whose digest is known to be ours; None if it can't be read or holds something else."""
    try:
        index = faiss.read_index(str(path))
    except RuntimeError:
        return None
    if not isinstance(index, faiss.IndexIVFRaBitQ) or index.d != dimension:
        return None
    return Cells(index)


def train(sample: Matrix, count: int, *, go_on: Callable[[], bool]) -> Cells | None:
    """Empty cells around `count` centroids of the sample (spherical k-means); None as soon as `go_on` says no."""
    dimension = sample.shape[1]
    count = min(count, len(sample))
    centroids: Any = None
    for _ in range(ROUNDS):  # one at a time, so that a process that ends waits for one at most
        if not go_on():
            return None
        means = faiss.Kmeans(
            dimension, count, niter=1, spherical=True, min_points_per_centroid=1, max_points_per_centroid=2 * SAMPLE, seed=1
        )  # fmt: skip
        means.train(sample, init_centroids=centroids)
        centroids = means.centroids
    quantizer: Any = faiss.IndexFlatIP(dimension)
    quantizer.add(centroids)
    index = faiss.IndexIVFRaBitQ(quantizer, dimension, count, faiss.METRIC_INNER_PRODUCT)
    index.own_fields = True
    quantizer.this.disown()
    index.train(sample[:1])  # the quantizer is trained; this only says so
    return Cells(index)


def return_memory() -> None:
    """Gives the system back what training and old lists took, of this thread all of it: the allocator would keep a hundred MB at a million rows.

    `malloc_trim` leaves the end of a thread's own heap, 15 MB after training. That goes once a block of it is freed, if it is larger
    than a threshold, which is 0 for that moment. Setting one ends glibc's own choice, so both are left where FAISS's blocks of 16 MB
    had brought them. (glibc only; elsewhere nothing happens.)
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
        libc.malloc_trim(0)
        libc.mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)
        libc.mallopt(M_TRIM_THRESHOLD, 0)
        libc.free(libc.malloc(SMALL_BLOCK))
        libc.mallopt(M_TRIM_THRESHOLD, 2 * LARGE_BLOCK)


def excluding(rows: Rows) -> Selector:
    """All rows but these."""
    batch = faiss.IDSelectorBatch(rows)
    return faiss.IDSelectorNot(batch), batch
