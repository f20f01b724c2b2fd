"""A vector index that compares with everything: the plainest thing that keeps the promises."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import numpy as np

from cache_service.embedding.base import Vector
from cache_service.index.base import Candidate, IndexPosition


class BruteForceIndex:
    """Entries in a dict. disk: where `save` puts its copy; two indexes with one disk see each other's snapshots."""

    def __init__(self, dimension: int, disk: dict[str, Any] | None = None) -> None:
        self._dimension = dimension
        self._disk = {} if disk is None else disk
        self._model_id: str | None = None
        self._entries: dict[int, tuple[str, Vector]] = {}
        self._position: IndexPosition | None = None

    @property
    def position(self) -> IndexPosition | None:
        """What `advance` or `load` said last."""
        return self._position

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry_id: int, partition: str, vector: Vector) -> None:
        """Keeps a copy."""
        vector = np.array(vector, np.float32)
        if vector.shape != (self._dimension,):
            raise ValueError("another dimension")
        if not abs(float(np.linalg.norm(vector)) - 1.0) <= 1e-3:
            self.remove(entry_id)
            return
        self._entries[entry_id] = (partition, vector)

    def remove(self, entry_id: int) -> None:
        """Forgets the entry."""
        self._entries.pop(entry_id, None)

    def advance(self, position: IndexPosition) -> None:
        """Only noted."""
        self._position = position

    def clear(self) -> None:
        """Empties the dict."""
        self._entries.clear()
        self._position = None

    async def search(self, partition: str, vector: Vector, *, limit: int, floor: float) -> list[Candidate]:
        """Compares with every entry."""
        found = [
            Candidate(entry_id, min(1.0, max(-1.0, cosine)))
            for entry_id, (place, stored) in self._entries.items()
            if place == partition and (cosine := float((stored * vector).sum(dtype=np.float32))) >= floor
        ]
        return sorted(found, key=lambda candidate: (-candidate.similarity, candidate.entry_id))[:limit]

    async def nearest(self, vector: Vector, *, limit: int, floor: float) -> list[Candidate]:
        """The same over all of them."""
        places = {place for place, _ in self._entries.values()}
        found = [one for place in places for one in await self.search(place, vector, limit=limit, floor=floor)]
        return sorted(found, key=lambda candidate: (-candidate.similarity, candidate.entry_id))[:limit]

    def entry_ids(self) -> Iterable[int]:
        """The keys."""
        return list(self._entries)

    def partition_of(self, entry_id: int) -> str | None:
        """Looked up."""
        found = self._entries.get(entry_id)
        return found[0] if found else None

    async def save(self) -> None:
        """A copy to the disk."""
        if self._position is not None and self._model_id is not None:
            self._disk["snapshot"] = (self._position, self._model_id, copy.deepcopy(self._entries))

    async def load(self, *, epoch: str, model_id: str) -> bool:
        """The copy back, if it is of that database and model."""
        self.clear()
        self._model_id = model_id
        position, saved_model, entries = self._disk.get("snapshot", (None, None, {}))
        if position is None or position.epoch != epoch or saved_model != model_id:
            return False
        self._position, self._entries = position, copy.deepcopy(entries)
        return True

    async def aclose(self) -> None:
        """Empty from here on."""
        self._entries = {}
        self._position = None
