"""What has to happen now and then: expired entries go, old rows of the change feed go, pictures nobody refers to go."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from cache_service.errors import StoreError
from cache_service.instrumentation.events import EntriesRemoved, Hook
from cache_service.store.base import BlobStore, EntryStore, LedgerStore

log = logging.getLogger(__name__)

KEEP_EXPIRED = 86400.0
"""Seconds an expired entry is kept for `max-stale` and `stale-if-error`."""

SWEEP_EVERY = 86400.0
"""Seconds between two looks for pictures that a killed process wrote and nothing refers to."""

BATCH = 500  # entries deleted in one transaction, so that it never lasts long


async def maintain(
    store: EntryStore, blobs: BlobStore, *, hook: Hook, keep_changes: float, now: Callable[[], float] = time.time
) -> None:
    """One round. Raises StoreError."""
    while (expired := await store.expire(before=now() - KEEP_EXPIRED, limit=BATCH)).count:
        await blobs.collect(expired.orphaned_blobs, unreferenced=store.unreferenced)
        hook(EntriesRemoved("expired", expired.count))
    await blobs.collect((), unreferenced=store.unreferenced)  # what a backup made wait
    await store.trim_changes(before=now() - keep_changes)


async def sweep(store: EntryStore, blobs: BlobStore) -> int:
    """Deletes pictures that no entry refers to; returns how many. Raises StoreError."""
    found = await blobs.all()
    return sum(
        [
            await blobs.collect(found[start : start + BATCH], unreferenced=store.unreferenced)
            for start in range(0, len(found), BATCH)
        ]
    )


async def run(
    store: EntryStore,
    blobs: BlobStore,
    *,
    hook: Hook,
    keep_changes: float,
    keep_payments: float,
    ledger: LedgerStore,
    every: float,
    now: Callable[[], float] = time.time,
) -> None:
    """A round every `every` seconds, for ever; pictures nobody refers to, and old payments, are looked for once a day."""
    since_sweep = SWEEP_EVERY
    while True:
        await asyncio.sleep(every)
        since_sweep += every
        try:
            await maintain(store, blobs, hook=hook, keep_changes=keep_changes)
            if since_sweep >= SWEEP_EVERY:
                since_sweep = 0.0
                await sweep(store, blobs)
                await ledger.trim_payments(before=now() - keep_payments)
        except StoreError:
            log.exception("maintenance failed; trying again")
