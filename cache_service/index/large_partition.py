"""A partition too large to scan: cells that propose rows, and notes of what they don't hold yet.

Adding and removing only note the row. A worker's thread puts what was noted into the cells, makes them when there are none, and
makes them anew, beside the old ones, when the partition has outgrown them; what changes meanwhile is noted for both. Until a row is
in the cells it is scanned exactly, and what is removed but still in them is left out. So nothing waits for FAISS's work: neither
the loop nor a search.

Who holds which lock: the worker (and a save) `_work`; whoever changes or searches the cells `_cells_lock`, for a few milliseconds at
most; whoever reads or writes the notes `_notes`, for microseconds. They are taken in this order.
"""

from __future__ import annotations

import threading
from array import array
from pathlib import Path

import faiss
import numpy as np

from cache_service.embedding.base import Vector
from cache_service.index import cells as cells_of
from cache_service.index import snapshot
from cache_service.index.cells import Cells, Selector
from cache_service.index.rows import MappedRows, Rows, cosines

PENDING = 64  # rows scanned beside the cells before they are put into them, in 10 µs
REMOVED = 64  # rows left out of the cells' answers before they are taken out of them, or a thousandth of all
PROPOSED = 32  # rows whose similarity is computed, four times as many as long as that may not be enough
PROPOSED_AT_MOST = 4096  # 6 MB of MiniLM's vectors, 2 ms
TURNOVER = 3  # rows put into the cells, in partition sizes, after which other rows lie in them than they were made of
PENDING_AT_ONCE = 500  # rows scanned on the loop
CHUNK = 64  # rows put into the cells while searches wait: 0.2 ms
CHUNK_ANEW = 4096  # the same where nobody searches them yet

_NONE = np.empty(0, np.int64)
_NO_ESTIMATES = np.empty(0, np.float32)


class LargePartition:
    """The rows of one partition. `add`, `remove`, `rows`, `close` and `search_now` belong to the loop; `search` and `work` to threads.

    rows: their numbers, uint32. cells: of a snapshot; they may hold rows that are gone and lack others.
    """

    def __init__(self, rows: bytes, dimension: int, cells: Cells | None = None) -> None:
        self.queued = False  # for who starts the worker
        self._dimension = dimension
        self._work = threading.Lock()
        self._cells_lock = threading.Lock()
        self._notes = threading.Lock()
        self._cells = cells
        self._pending = array("I", rows)  # of bytes it takes the machine's words
        self._removed: set[int] = set()
        self._moving: tuple[Rows, Rows] = _NONE, _NONE  # being put into the cells, being taken out
        self._selector: Selector | None = None
        self._missed: array[int] | None = None  # what cells in the making don't know: rows added, ~ of rows removed
        self._closed = False
        self._size = len(self._pending)
        self._written: str | None = None  # digest of what `write` wrote last, None once the cells have changed
        self._since_packed = self._since_made = 0  # rows put into the cells
        if cells is not None:
            present, held = np.array(self._pending, np.int64), cells.rows()
            self._removed = set(np.setdiff1d(held, present).tolist())
            self._pending = array("I", np.setdiff1d(present, held).astype(np.uint32).tobytes())
            self._since_packed = self._size  # a file's lists have no room

    def __len__(self) -> int:
        return self._size

    def add(self, row: int) -> None:
        """Notes the row; the next search finds it."""
        with self._notes:
            self._pending.append(row)
            if self._missed is not None:
                self._missed.append(row)
        self._size += 1

    def remove(self, row: int) -> None:
        """The row must be in the partition."""
        with self._notes:
            self._forget(row)
            if self._missed is not None:
                self._missed.append(~row)
        self._size -= 1

    def _forget(self, row: int) -> None:
        try:
            self._pending.remove(row)
        except ValueError:
            self._removed.add(row)
            self._selector = None

    def rows(self) -> list[int]:
        """All rows, for a partition that became small again."""
        with self._cells_lock, self._notes:
            return self._all().tolist()  # type: ignore[no-any-return]

    def _all(self) -> Rows:
        held = _NONE if self._cells is None else self._cells.rows()
        added, removed = self._moving
        held = np.union1d(np.setdiff1d(held, removed), added)
        gone = np.fromiter(self._removed, np.int64)
        return np.union1d(np.setdiff1d(held, gone), np.array(self._pending, np.int64))

    def close(self) -> None:
        """Nobody wants it any more: the worker stops at the next step."""
        self._closed = True

    @property
    def behind(self) -> bool:
        """Whether there is work."""
        return self._outgrown() or self._to_move()

    def _outgrown(self) -> bool:
        return self._cells is None or self._cells.outgrown(self._size) or self._since_made > TURNOVER * self._size

    def _to_move(self) -> bool:
        return len(self._pending) > PENDING or len(self._removed) > max(REMOVED, self._size // 1000)

    # ── searching ──

    def search_now(self, stored: MappedRows, vector: Vector, *, limit: int, floor: float, margin: float) -> Rows | None:
        """What `search` says, in 0.1 to 0.3 ms; None where that takes longer: much is pending, or others are at the cells."""
        waiting = len(self._pending) + len(self._moving[0])
        if self._cells is None or waiting > PENDING_AT_ONCE or not self._cells_lock.acquire(blocking=False):
            return None
        try:
            rows, enough = self._propose(stored, vector, PROPOSED, limit, floor, margin)
        finally:
            self._cells_lock.release()
        return rows if enough else None

    def search(self, stored: MappedRows, vector: Vector, *, limit: int, floor: float, margin: float) -> Rows:
        """Rows that may be among the best: those ≥ floor and ≥ the `limit`-th best, less the margin, as far as the cells propose them.

        Of neighbours ≥ 0.92 fewer than one in a thousand is missed.
        """
        faiss.omp_set_num_threads(1)  # of this thread's calls: a second core is not worth waking for 0.1 ms
        wanted = PROPOSED
        with self._cells_lock:
            while True:
                rows, enough = self._propose(stored, vector, wanted, limit, floor, margin)
                if enough:
                    return rows
                wanted *= 4

    def _propose(
        self, stored: MappedRows, vector: Vector, wanted: int, limit: int, floor: float, margin: float
    ) -> tuple[Rows, bool]:
        """The best of what is pending and of what the cells propose; and whether asking them for more would be in vain."""
        with self._notes:  # first: a row that is moved meanwhile must be found in one place at least
            moving = self._moving[0]
            pending = np.array(self._pending, np.int64) if self._pending else _NONE
            selector = self._excluding()
        proposed, estimates = _NONE, _NO_ESTIMATES
        if self._cells is not None:
            proposed, estimates = self._cells.propose(vector, wanted, floor, selector)
        rows = np.concatenate([pending, proposed]) if len(pending) else proposed
        if len(moving):  # some are in the cells already, and must not be two of the best
            rows = np.unique(np.concatenate([moving, rows]))
        if not len(rows):
            return rows, True
        # `stored.vectors` is asked for after the rows were: the file may have grown for them
        scores = cosines(stored.vectors, rows, vector)
        rows, edge = best(rows, scores, limit, floor, margin)
        enough = (
            len(proposed) < wanted
            or wanted >= PROPOSED_AT_MOST
            or float(estimates[-1]) < edge - cells_of.error(self._dimension)
        )
        return rows, enough

    def _excluding(self) -> Selector | None:
        removing = self._moving[1]
        if not self._removed and not len(removing):
            return None
        if self._selector is None:
            gone = np.fromiter(self._removed, np.int64)
            self._selector = cells_of.excluding(np.concatenate([gone, removing]))
        return self._selector

    # ── the worker ──

    def work(self, stored: MappedRows) -> None:
        """Brings the cells up to date, or makes them: up to half a minute at a million rows."""
        with self._work:
            if self._outgrown() and not self._closed:
                self._make_anew(stored)
                cells_of.return_memory()  # here, where the arrays that it took are gone: 16 MB at a million rows
            while self._cells is not None and self._to_move() and not self._closed:
                self._move(stored, self._cells)

    def _move(self, stored: MappedRows, cells: Cells) -> None:
        """Takes out of the cells what is gone, and puts in what is pending."""
        with self._notes:
            added, removed = np.array(self._pending, np.int64), np.fromiter(self._removed, np.int64)
            self._moving, self._pending, self._removed = (added, removed), array("I"), set()
        self._written = None
        if len(removed):
            with self._cells_lock:
                cells.remove(removed)
            with self._notes:
                self._moving, self._selector = (added, _NONE), None
        for start in range(0, len(added), CHUNK):
            rows = added[start : start + CHUNK]
            vectors = stored.vectors.take(rows, axis=0)
            chosen = cells.assign(vectors)
            with self._cells_lock:
                cells.add(rows, vectors, chosen)
        with self._notes:
            self._moving, self._selector = (_NONE, _NONE), None
        self._since_packed += len(added)
        self._since_made += len(added)
        if self._since_packed > 2 * PENDING and cells.is_loose:
            self._pack(cells)

    def _pack(self, cells: Cells) -> None:
        lists = cells.packed()
        with self._cells_lock:
            cells.take_packed(lists)
        self._since_packed = 0
        cells_of.return_memory()

    def _make_anew(self, stored: MappedRows) -> None:
        """Cells around centroids of their own, filled, then put in place of those there are."""
        with self._notes:
            pending, gone = np.array(self._pending, np.int64), np.fromiter(self._removed, np.int64)
            self._missed = array("q")
        try:
            held = _NONE if self._cells is None else self._cells.rows()  # which nobody else changes
            rows = np.union1d(np.setdiff1d(held, gone), pending)
            if not len(rows):
                return
            cells = self._trained(stored, rows)
            if cells is None:
                return
            with self._notes:
                missed, self._missed = self._missed, array("q")
            added, removed = _outcome(missed)  # without the locks: at a million rows there may be half as many
            with self._cells_lock, self._notes:
                self._cells, self._written, self._selector = cells, None, None
                self._since_made = 0
                self._pending, self._removed = added, removed
                for change in self._missed:  # meanwhile
                    if change >= 0:
                        self._pending.append(change)
                    else:
                        self._forget(~change)
        finally:
            with self._notes:
                self._missed = None

    def _trained(self, stored: MappedRows, rows: Rows) -> Cells | None:
        """New cells that hold the rows; None if nobody wants them any more."""
        count = cells_of.centroids_for(len(rows))
        # evenly, which takes no time: drawing them would hold the interpreter for 20 ms at a million
        sample = rows[np.linspace(0, len(rows) - 1, min(len(rows), count * cells_of.SAMPLE)).astype(np.int64)]
        cells = cells_of.train(stored.vectors.take(sample, axis=0), count, go_on=lambda: not self._closed)
        for start in range(0, len(rows), CHUNK_ANEW):
            if cells is None or self._closed:
                return None
            chunk = rows[start : start + CHUNK_ANEW]
            vectors = stored.vectors.take(chunk, axis=0)
            cells.add(chunk, vectors, cells.assign(vectors))
        if cells is not None:
            self._pack(cells)
        return cells

    # ── the snapshot ──

    def write(self, stored: MappedRows, directory: Path) -> str | None:
        """Writes the cells durably and returns their digest, by which `snapshot` finds the file; None if there are no cells.

        They hold every row that was there when this was called, and maybe others. Raises StoreError.
        """
        with self._work:
            if self._cells is None:
                return None
            if self._pending or self._removed:
                self._move(stored, self._cells)
            if self._written is None or not snapshot.holds_cells(directory, self._written):
                self._written = snapshot.write_cells(directory, self._cells)
            return self._written


def _outcome(changes: array[int]) -> tuple[array[int], set[int]]:
    """What changes in their order, as `_missed` holds them, come to: the rows that they add, and those that were there and that they remove.

    A row is removed only while it is there and added only while it isn't. So the first change says whether it was, the last whether it is.
    """
    noted = np.frombuffer(changes, np.int64)
    rows = np.where(noted < 0, ~noted, noted)
    _, first = np.unique(rows, return_index=True)
    _, last = np.unique(rows[::-1], return_index=True)
    first, last = noted[first], noted[::-1][last]
    return array("I", last[last >= 0].astype(np.uint32).tobytes()), set((~first[first < 0]).tolist())


def best(rows: Rows, scores: Vector, limit: int, floor: float, margin: float) -> tuple[Rows, float]:
    """The rows whose score is ≥ floor and ≥ the `limit`-th best, less the margin, in no order; and that edge."""
    edge = floor
    if len(scores) > limit:
        edge = max(floor, float(np.partition(scores, len(scores) - limit)[len(scores) - limit]))
    return rows[scores >= edge - margin], edge
