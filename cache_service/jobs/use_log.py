"""How often entries are served, written behind the requests: a hit pays an addition in memory, the database is told in batches.

A killed process loses the last seconds of it, which costs an entry a little of its rank and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from cache_service.errors import StoreError
from cache_service.store.base import EvictingStore, Use

log = logging.getLogger(__name__)

MOST_WAITING = 100_000
"""Entries whose hits wait to be written, about 20 MB; beyond that, hits of further ones aren't counted."""

BATCH = 200  # entries in one transaction, a few milliseconds


class UseLog:
    """Counts hits by entry."""

    def __init__(self, store: EvictingStore, *, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self._now = now
        self._waiting: dict[int, Use] = {}
        self._one_at_a_time = asyncio.Lock()

    def add(self, entry_id: int) -> None:
        """Counts one hit; waits for nothing."""
        before = self._waiting.get(entry_id)
        if before is not None or len(self._waiting) < MOST_WAITING:
            self._waiting[entry_id] = Use(1 + (before.times if before else 0), self._now())

    async def flush(self) -> None:
        """Writes all that waits now. Raises StoreError; what couldn't be written is given up."""
        async with self._one_at_a_time:
            waiting, self._waiting = self._waiting, {}
            ids = sorted(waiting)
            for start in range(0, len(ids), BATCH):
                await self._store.record_uses({entry_id: waiting[entry_id] for entry_id in ids[start : start + BATCH]})

    async def run(self, *, every: float) -> None:
        """Flushes every `every` seconds, for ever."""
        while True:
            await asyncio.sleep(every)
            await self.close()

    async def close(self) -> None:
        """A flush; a store that fails costs the count and nothing else."""
        try:
            await self.flush()
        except StoreError:
            log.exception("hits could not be counted")
