"""Keeps the bounds: room is made *before* something is stored, a little more than it takes, so that most stores wait for nothing.

What is held is known here between two looks at the database; other nodes' stores and what was purged show at the next look. While
no bound is set, nothing is looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from cache_service.errors import StoreError
from cache_service.instrumentation.events import EntriesRemoved, Hook, StoreHeld
from cache_service.store.base import BlobStore, EvictingStore
from cache_service.store.eviction import NOTHING, Bounds, Held

log = logging.getLogger(__name__)

BATCH = 20
"""Entries deleted in one transaction: some milliseconds, in which no other store can commit."""


class Evictor:
    """Makes room by evicting what is worth least. unreferenced: as `BlobStore.collect` takes it. catch_up: of the index."""

    def __init__(
        self,
        store: EvictingStore,
        blobs: BlobStore,
        *,
        bounds: Bounds,
        unreferenced: Callable[..., Awaitable[set[str]]],
        catch_up: Callable[[], Awaitable[None]],
        hook: Hook,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._bounds = bounds
        self._unreferenced = unreferenced
        self._catch_up = catch_up
        self._hook = hook
        self._now = now
        self._held: dict[str, Held] = {}
        self._coming: dict[str, Held] = {}
        self._landed: dict[str, Held] = {}  # stored since the last look began: what it finds may lack them
        self._total = NOTHING  # of held and coming
        self._one_at_a_time = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def room(self, namespace: str, blob_bytes: int) -> AsyncIterator[bool]:
        """Room for one entry until the block ends, in which it is stored. False: it is larger than a bound and must not be.

        Where no room can be made, because the store fails, it is stored all the same; the next round tries again.
        """
        new = Held(1, blob_bytes)
        if not self._bounds.any:
            yield True
            return
        if not self._bounds.fits(namespace, new):
            yield False
            return
        _add(self._coming, namespace, new)
        self._total += new
        try:
            its = self._held.get(namespace, NOTHING) + self._coming[namespace]
            if self._bounds.exceeded(namespace, its, self._total):
                await self.keep()
            yield True
        finally:
            _add(self._coming, namespace, NOTHING - new)
            _add(self._held, namespace, new)
            _add(self._landed, namespace, new)

    async def keep(self) -> None:
        """Looks at what is held, and evicts what is too much. A failure is logged."""
        async with self._one_at_a_time:
            try:
                await self._look()
                await self._evict()
            except StoreError:
                log.exception("no room could be made; trying again")

    async def start(self) -> None:
        """Ranks what isn't ranked yet, after which every entry may be evicted. Raises StoreError."""
        if ranked := await self._store.rank():
            log.info("ranked %d entries by what they are worth keeping", ranked)
        await self._look()

    async def run(self, *, every: float) -> None:
        """Looks every `every` seconds, for ever: other nodes store too, and those of an earlier release rank nothing."""
        while True:
            await asyncio.sleep(every)
            try:
                await self._store.rank()
            except StoreError:
                log.exception("entries could not be ranked; trying again")
            await self.keep()

    async def _look(self) -> None:
        self._landed = {}
        held = dict(await self._store.held())
        for namespace, landed in self._landed.items():  # rather counted twice than not at all
            _add(held, namespace, landed)
        self._held = held
        total = sum(self._held.values(), NOTHING)
        self._total = sum(self._coming.values(), total)
        self._hook(StoreHeld(total.entries, total.blob_bytes))

    async def _evict(self) -> None:
        evicted = 0
        while excess := self._bounds.excess(self._expected()):
            gone = await self._store.evict(excess, limit=BATCH, now=self._now())
            if not gone.count:
                break  # what is coming is itself too much: it goes when it has come
            evicted += gone.count
            for namespace, freed in gone.freed.items():
                _add(self._held, namespace, NOTHING - freed)
                self._total -= freed
            self._hook(EntriesRemoved("evicted", gone.count))
            await self._blobs.collect(gone.orphaned_blobs, unreferenced=self._unreferenced)
        if evicted:
            log.info("evicted %d entries", evicted)
            await self._catch_up()

    def _expected(self) -> dict[str, Held]:
        """What is held once all that is coming is stored."""
        names = self._held.keys() | self._coming.keys()
        return {name: self._held.get(name, NOTHING) + self._coming.get(name, NOTHING) for name in names}


def _add(held: dict[str, Held], namespace: str, more: Held) -> None:
    now = held.get(namespace, NOTHING) + more
    if now == NOTHING:
        held.pop(namespace, None)
    else:
        held[namespace] = now
