"""What callers may rely on from a vector index.

The index is *derived*: SQL is the truth, and an index that is lost, older or of another database costs time, never data.
It remembers the number of the last change it has applied, so that a follower catches up from there.
A search never leaves its partition: the partition is part of the search, not a filter after it.

Raised: `StoreError` by `add` and `save` where the file system fails (a full disk); the index is then as it was before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from cache_service.embedding.base import Vector


@dataclass(frozen=True, slots=True)
class Candidate:
    """A stored entry whose vector is close to the asked one.

    similarity: cosine in [-1, 1], exact (never a quantised estimate).
    """

    entry_id: int
    similarity: float


@dataclass(frozen=True, slots=True)
class IndexPosition:
    """How far the index has followed the database `epoch`: every change up to and including `number` is applied."""

    epoch: str
    number: int


class VectorIndex(Protocol):
    """Vectors by partition. Methods that change are called by one follower at a time; `search` may run beside them."""

    @property
    def position(self) -> IndexPosition | None:
        """The last applied change, or None when the index is empty and must be rebuilt."""

    def __len__(self) -> int:
        """Number of entries that can be found."""

    def add(self, entry_id: int, partition: str, vector: Vector) -> None:
        """Makes the entry findable in `partition`; replaces its vector (and partition) if it is already there.

        A vector that is damaged (not finite, not of unit length) makes the entry unfindable: it fails closed, and a follower goes on.
        """

    def remove(self, entry_id: int) -> None:
        """Makes the entry unfindable; an unknown id is no error."""

    def advance(self, position: IndexPosition) -> None:
        """Records that every change up to `position` is applied."""

    def clear(self) -> None:
        """Forgets everything, also the position."""

    async def search(self, partition: str, vector: Vector, *, limit: int, floor: float) -> list[Candidate]:
        """Up to `limit` entries of `partition` with cosine ≥ floor, the most similar first, ties by smaller id.

        In a large partition one in a thousand of those ≥ 0.92 may be missed, never one found that isn't there.
        """

    async def nearest(self, vector: Vector, *, limit: int, floor: float) -> list[Candidate]:
        """The same over every partition, for operators to look at: compares with every vector, in a thread. Nothing is served by it."""

    def entry_ids(self) -> Iterable[int]:
        """Every findable entry, in no order; for `check`."""

    def partition_of(self, entry_id: int) -> str | None:
        """The partition the entry is findable in; for `check`."""

    async def save(self) -> None:
        """Writes a snapshot that `load` trusts by its digest; atomic; at most one at a time."""

    async def load(self, *, epoch: str, model_id: str) -> bool:
        """Loads the snapshot if it belongs to `epoch` and `model_id` and its digest is ours; False leaves the index empty.

        Called once before the first `add`, also by who knows that there is no snapshot: it says whose vectors these are.
        """

    async def aclose(self) -> None:
        """Releases files; idempotent."""
