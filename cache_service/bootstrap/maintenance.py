"""Commands on what is stored: `check`, `reindex`, `backup`, `restore`."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.metadata
import json
import tempfile
from pathlib import Path

from cache_service.bootstrap.models import embedder, verifier
from cache_service.bootstrap.storage import configured_database, hold, open_entry_store
from cache_service.config import Settings, masked
from cache_service.data_dir import DataDirectory
from cache_service.errors import ConfigurationError
from cache_service.index.faiss import FaissIndex
from cache_service.jobs import reindex as reindexing
from cache_service.jobs.check import check as check_all
from cache_service.jobs.follow import Follower
from cache_service.store import backup
from cache_service.store.backup import Manifest
from cache_service.store.base import Problem
from cache_service.store.blobs import FileBlobStore
from cache_service.store.engine import database_url


async def check(settings: Settings, *, fix: bool) -> list[Problem]:
    """`check`, on the files themselves; mending needs that no server holds them. Raises CacheServiceError."""
    async with contextlib.AsyncExitStack() as stack:
        holder = DataDirectory(settings.data_dir).holder()
        if holder is not None and fix:
            raise ConfigurationError(
                f"process {holder.pid} is serving from {settings.data_dir}; stop it before mending"
            )
        if holder is None:
            hold(settings, stack, None)
        store = await open_entry_store(settings, stack)
        blobs = await FileBlobStore.open(settings.data_dir / "blobs")
        embeddings = await embedder(settings)
        stack.push_async_callback(embeddings.aclose)
        folder = settings.data_dir / "index"
        if holder is not None:  # the server writes its own snapshot there; here an index is built beside it
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cache-service-check-")))
        index = FaissIndex(folder, dimension=embeddings.dimension, small_partition=settings.small_partition)
        stack.push_async_callback(index.aclose)
        follower = Follower(store, index, embedding_model=embeddings.model_id)
        await follower.start()
        return await check_all(store, blobs, index, follower, embedding_model=embeddings.model_id, fix=fix)


async def reindex(settings: Settings, model: str, *, most: int) -> tuple[int, int, reindexing.Agreement]:
    """`reindex`: vectors of another model, while a server may go on; and what they would change. Raises CacheServiceError."""
    async with contextlib.AsyncExitStack() as stack:
        store = await open_entry_store(settings, stack)
        judge = await verifier(settings)
        present, other = (
            await embedder(settings),
            await embedder(settings.model_copy(update={"embedding_model": model})),
        )
        for each in (present, other):
            stack.push_async_callback(each.aclose)
        done, failed = await reindexing.embed_missing(store, other, judge)
        found = await reindexing.agreement(
            store, present.model_id, other.model_id, judge, threshold=settings.threshold, most=most
        )
        return done, failed, found


async def back_up(settings: Settings, target: Path) -> Manifest:
    """`backup`: a copy of database and pictures, while a server may go on. Raises CacheServiceError."""
    url, blobs = database_url(configured_database(settings)), settings.data_dir / "blobs"
    release = importlib.metadata.version("cache-service")
    return await asyncio.to_thread(
        backup.back_up, url, blobs, target, release=release, settings=settings_digest(settings)
    )


async def restore(settings: Settings, source: Path, *, allow_damaged: bool) -> tuple[Manifest, list[str]]:
    """`restore`: makes an empty data directory out of a backup; the pictures that are damaged. Raises CacheServiceError."""
    async with contextlib.AsyncExitStack() as stack:
        hold(settings, stack, None)
        blobs = settings.data_dir / "blobs"
        return await backup.restore(configured_database(settings), blobs, source, allow_damaged=allow_damaged)


def settings_digest(settings: Settings) -> str:
    """SHA-256 of the settings without secrets and without where the data lies, by which a backup tells under which it was made."""
    values = masked(settings)
    del values["data_dir"]  # a copy lies elsewhere as a rule
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
