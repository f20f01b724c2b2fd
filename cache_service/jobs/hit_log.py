"""The record of semantic hits, written behind the requests: a hit pays an append to a list, the database is told in batches.

Bounded in memory and in the database. A killed process loses the last second of it at most; feedback itself is durable.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from itertools import chain

from cache_service.errors import StoreError
from cache_service.instrumentation.events import HitsUnrecorded, Hook
from cache_service.store.base import FeedbackStore
from cache_service.store.entry import ServedHit

log = logging.getLogger(__name__)

MOST_WAITING = 10_000
"""Hits that wait to be written; beyond that the oldest are given up. About 10 MB, and seconds of the highest load."""

BATCH = 500  # hits in one transaction, a few milliseconds

TRIM_EVERY = 1000  # hits recorded between two looks at how many there are


class HitLog:
    """Remembers which request was answered with what another prompt had made. keep: hits kept in the database."""

    def __init__(self, store: FeedbackStore, *, hook: Hook, keep: int, most_waiting: int = MOST_WAITING) -> None:
        self._store = store
        self._hook = hook
        self._keep = keep
        self._most_waiting = most_waiting
        self._waiting: deque[ServedHit] = deque()
        self._writing: list[ServedHit] = []
        self._one_at_a_time = asyncio.Lock()
        self._since_trim = TRIM_EVERY

    def add(self, hit: ServedHit) -> None:
        """Remembers the hit; waits for nothing."""
        if len(self._waiting) >= self._most_waiting:
            self._waiting.popleft()
            self._hook(HitsUnrecorded(1))
        self._waiting.append(hit)

    async def find(self, *, namespace: str, key: str | None, request_id: str | None) -> ServedHit | None:
        """The newest hit of the namespace with that request id, or that key on either side, written or not. Raises StoreError."""
        for hit in chain(reversed(self._waiting), reversed(self._writing)):
            named = hit.request_id == request_id if request_id is not None else key in (hit.asked_key, hit.stored_key)
            if named and hit.namespace == namespace:
                return hit
        return await self._store.find_hit(namespace=namespace, key=key, request_id=request_id)

    async def flush(self) -> None:
        """Writes all that waits now. Raises StoreError; what couldn't be written waits on."""
        async with self._one_at_a_time:
            while self._waiting:
                self._writing = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
                try:
                    await self._store.record_hits(self._writing)
                except StoreError:
                    self._waiting.extendleft(reversed(self._writing))
                    self._writing = []
                    raise
                self._since_trim += len(self._writing)
                self._writing = []
            if self._since_trim >= TRIM_EVERY:
                self._since_trim = 0
                await self._store.trim_hits(keep=self._keep)

    async def run(self, *, every: float) -> None:
        """Flushes every `every` seconds, for ever."""
        while True:
            await asyncio.sleep(every)
            try:
                await self.flush()
            except StoreError:
                log.exception("semantic hits could not be recorded; trying again")

    async def close(self) -> None:
        """The last flush; a store that fails costs the record, not the shutdown."""
        try:
            await self.flush()
        except StoreError:
            log.exception("the last semantic hits could not be recorded")
            self._hook(HitsUnrecorded(len(self._waiting)))
