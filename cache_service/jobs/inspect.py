"""Looks at entries for operators: pages of them, those near a prompt, and one with its neighbours and all decisions it had a part in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from cache_service.embedding.base import Embedder
from cache_service.errors import NotFound
from cache_service.index.base import VectorIndex
from cache_service.jobs.request_log import RequestLog, Seen
from cache_service.store.base import AdminStore, EntryStore
from cache_service.store.entry import ServedHit
from cache_service.store.records import EntryDetail, EntryFilter, EntryPage, EntrySummary, Place

NEIGHBOURS: Final = 12
NEAR: Final = 0.5
"""Least cosine of a neighbour: below it prompts have nothing to do with each other."""
DECISIONS: Final = 50
MOST_SIMILAR: Final = 200
SHARE, AT_ONCE = 0.02, 0.05
"""Of all time that adding up totals may take, which reads every output; and seconds of it that a page waits for."""


@dataclass(frozen=True, slots=True)
class Near:
    """An entry and its cosine to what was asked."""

    entry: EntrySummary
    similarity: float


@dataclass(frozen=True, slots=True)
class Inspected:
    """One entry. neighbours: of its partition, the most similar first. hits: recorded semantic hits; requests: of this process."""

    entry: EntryDetail
    neighbours: Sequence[Near]
    hits: Sequence[ServedHit]
    requests: Sequence[Seen]


class Inspector:
    """Reads the store and the index; changes nothing."""

    def __init__(
        self,
        store: EntryStore,
        admin: AdminStore,
        index: VectorIndex,
        embedder: Embedder,
        requests: RequestLog,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._admin = admin
        self._index = index
        self._embedder = embedder
        self._requests = requests
        self._monotonic = monotonic
        self._totals: dict[str, int] | None = None
        self._added_up = self._took = 0.0
        self._adding_up: asyncio.Task[None] | None = None

    async def page(self, wanted: EntryFilter, after: Place | None, limit: int) -> EntryPage:
        """Entries, the newest first. Raises StoreError."""
        return await self._admin.list_entries(wanted, after=after, limit=limit)

    async def similar(self, prompt: str, at_least: float, wanted: EntryFilter, limit: int) -> list[Near]:
        """Of the `MOST_SIMILAR` entries nearest to the prompt those that fit, the nearest first. Raises EmbeddingError, StoreError."""
        (embedding,) = await self._embedder.embed([prompt])
        found = await self._index.nearest(embedding.vector, limit=MOST_SIMILAR, floor=at_least)
        return (await self._near({one.entry_id: one.similarity for one in found}, wanted))[:limit]

    async def entry(self, entry_id: int) -> Inspected:
        """All about one entry. Raises NotFound, StoreError."""
        found = await self._admin.entry_detail(entry_id)
        if found is None:
            raise NotFound("there is no such entry")
        summary = found.summary
        neighbours: list[Near] = []
        rows = await self._store.vectors([entry_id], embedding_model=self._embedder.model_id)
        if rows:
            near = await self._index.search(found.partition, rows[0].vector, limit=NEIGHBOURS + 1, floor=NEAR)
            others = {one.entry_id: one.similarity for one in near if one.entry_id != entry_id}
            neighbours = (await self._near(others, EntryFilter()))[:NEIGHBOURS]
        hits = await self._admin.hits_of(namespace=summary.namespace, key=summary.exact_key, limit=DECISIONS)
        return Inspected(found, neighbours, hits, self._requests.of_key(summary.exact_key, limit=DECISIONS))

    async def totals(self) -> dict[str, int]:
        """Entries, outputs and bytes. Where adding up takes longer than `AT_ONCE` they are those of before, and added up anew meanwhile.

        Raises StoreError where there are none yet.
        """
        due = self._monotonic() > self._added_up + self._took / SHARE
        if (self._totals is None or due) and (self._adding_up is None or self._adding_up.done()):
            self._adding_up = asyncio.create_task(self._add_up())
            self._adding_up.add_done_callback(lambda task: task.cancelled() or task.exception())  # the old ones hold on
        if self._adding_up is not None and (self._totals is None or (due and self._took <= AT_ONCE)):
            await asyncio.wait([self._adding_up])
            if self._totals is None:
                await self._adding_up  # raises why
        return dict(self._totals or {})

    async def aclose(self) -> None:
        """Adds up no more; idempotent."""
        if self._adding_up is not None:
            self._adding_up.cancel()
            await asyncio.gather(self._adding_up, return_exceptions=True)

    async def _add_up(self) -> None:
        began = self._monotonic()
        self._totals = await self._store.totals()
        self._added_up = self._monotonic()
        self._took = self._added_up - began

    async def _near(self, similarities: dict[int, float], wanted: EntryFilter) -> list[Near]:
        if not similarities:
            return []
        among = replace(wanted, among=tuple(similarities))
        page = await self._admin.list_entries(among, after=None, limit=len(similarities))
        near = [Near(entry, similarities[entry.id]) for entry in page.entries]
        return sorted(near, key=lambda one: (-one.similarity, one.entry.id))
