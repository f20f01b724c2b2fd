"""A partition too large to scan: a FAISS index of its own, always exact although it lags behind.

Adding and removing only note the row. A search, in its thread, first brings the index up to date if too many notes have
gathered; what is still pending it scans exactly, and what is removed but still in the index it leaves out. So the loop
never waits for FAISS, and a search finds what a scan would find.
"""

from __future__ import annotations

import threading
from array import array
from collections.abc import Iterable

import faiss
import numpy as np

from cache_service.embedding.base import Vector
from cache_service.index.rows import MappedRows, Rows

PENDING = 256  # rows scanned beside the index before they are put into it
REMOVED = 64  # rows left out of an index's answers before they are taken out of it
_EXTRA = 16  # rows asked for beyond the limit, so that ties at its edge are usually all there


class LargePartition:
    """The rows of one partition. `add`, `remove` and `rows` belong to the loop; `search` may run in threads beside them."""

    def __init__(self, rows: Iterable[int], dimension: int) -> None:
        self._index = new_index(dimension)
        self._index_lock = threading.Lock()  # held while FAISS works
        self._notes_lock = threading.Lock()  # held for microseconds
        self._pending = array("I", rows)
        self._removed: set[int] = set()
        self._size = len(self._pending)

    def __len__(self) -> int:
        return self._size

    def add(self, row: int) -> None:
        """Notes the row; the next search finds it."""
        with self._notes_lock:
            self._pending.append(row)
        self._size += 1

    def remove(self, row: int) -> None:
        """The row must be in the partition."""
        with self._notes_lock:
            try:
                self._pending.remove(row)
            except ValueError:
                self._removed.add(row)
        self._size -= 1

    def rows(self) -> list[int]:
        """All rows, for a partition that became small again; waits for a search that is running."""
        with self._index_lock:
            indexed = faiss.vector_to_array(self._index.id_map).tolist()
            return [*(row for row in indexed if row not in self._removed), *self._pending]

    def search(self, stored: MappedRows, vector: Vector, *, limit: int, floor: float, margin: float) -> Rows:
        """Rows that may be among the best: all whose similarity is ≥ floor and ≥ the `limit`-th best, less the margin."""
        with self._index_lock:
            self._bring_up_to_date(stored)
            with self._notes_lock:
                pending, removed = np.array(self._pending, np.int64), np.fromiter(self._removed, np.int64)
            found, scores = self._indexed(vector, limit=limit, removed=removed, floor=floor, margin=margin)
        # `stored.vectors` is asked for after the rows were: the file may have grown for them
        pending_scores = stored.vectors.take(pending, axis=0) @ vector
        return best(np.concatenate([found, pending]), np.concatenate([scores, pending_scores]), limit, floor, margin)

    def _bring_up_to_date(self, stored: MappedRows) -> None:
        with self._notes_lock:
            if len(self._pending) <= PENDING and len(self._removed) <= REMOVED:
                return
            # from here on these rows count as indexed: who removes one of them notes that in the new set
            added, removed = np.array(self._pending, np.int64), np.fromiter(self._removed, np.int64)
            self._pending, self._removed = array("I"), set()
        if len(removed):
            self._index.remove_ids(faiss.IDSelectorBatch(removed))
        if len(added):
            self._index.add_with_ids(stored.vectors.take(added, axis=0), added)

    def _indexed(
        self, vector: Vector, *, limit: int, removed: Rows, floor: float, margin: float
    ) -> tuple[Rows, Vector]:
        """The index's own best, asked for until the worst of them is out of question."""
        total = self._index.ntotal
        wanted = min(limit + len(removed) + _EXTRA, total)
        while True:
            if wanted == 0:
                return np.empty(0, np.int64), np.empty(0, np.float32)
            scores, rows = self._index.search(vector[np.newaxis], wanted)
            kept = (rows[0] >= 0) & ~np.isin(rows[0], removed)
            found, similarities = rows[0][kept], scores[0][kept]
            edge = max(floor, similarities[limit - 1] if len(similarities) >= limit else -np.inf) - margin
            if wanted == total or scores[0][-1] < edge:
                return found, similarities
            wanted = min(wanted * 4, total)


def new_index(dimension: int) -> faiss.IndexIDMap:
    """The index of one large partition: the one place that chooses its kind. Flat is exact, at 1.5 KB of memory a row.

    Any kind that proposes enough will do, since proposals are scored again from the mapped vectors.
    """
    return faiss.IndexIDMap(faiss.IndexFlatIP(dimension))


def best(rows: Rows, scores: Vector, limit: int, floor: float, margin: float) -> Rows:
    """The rows whose score is ≥ floor and ≥ the `limit`-th best, less the margin; in no order."""
    edge = floor
    if len(scores) > limit:
        edge = max(floor, float(np.partition(scores, len(scores) - limit)[len(scores) - limit]))
    return rows[scores >= edge - margin]
