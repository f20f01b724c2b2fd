"""Batches, taken up where they were left."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time

from cache_service.bootstrap.background import in_background
from cache_service.bootstrap.catalogs import estimate_usd
from cache_service.config import Settings
from cache_service.instrumentation.events import Hook
from cache_service.jobs.batch import Batches
from cache_service.jobs.batch_run import Means
from cache_service.jobs.batch_through import ThroughMeans
from cache_service.semantic_cache import SemanticCache
from cache_service.store.batches import SqlBatchStore
from cache_service.store.sql import SqlEntryStore


def open_batches(
    settings: Settings,
    stack: contextlib.AsyncExitStack,
    store: SqlEntryStore,
    cache: SemanticCache,
    hook: Hook,
    through: ThroughMeans,
    *,
    resume: bool,
) -> Batches:
    """Batches, running. Those of this data directory are this process's: the lock says that no other one lives."""
    from cache_service.api.problems import details_of

    owner = f"{socket.gethostname()}:{settings.data_dir.absolute()}"
    kept = SqlBatchStore(store.database)
    batches = Batches(kept, owner=owner, most_running=settings.max_batches)
    batches.begin(
        Means(
            store=kept,
            cache=cache,
            estimate=estimate_usd(settings),
            problem=details_of,
            hook=hook,
            slots=asyncio.Semaphore(settings.batch_concurrency),
            concurrency=settings.batch_concurrency,
            grown=batches.grown,
            now=time.time,
            through=through,
        )
    )
    in_background(stack, batches.run(resume=resume, keep=settings.keep_batches))
    return batches
