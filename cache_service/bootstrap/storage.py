"""Where entries lie: the data directory, the database, how much is kept and for how long."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from cache_service.config import Settings
from cache_service.data_dir import DataDirectory
from cache_service.instrumentation.events import Hook
from cache_service.jobs.evict import Evictor
from cache_service.jobs.follow import Follower
from cache_service.lifetime import Lifetimes
from cache_service.store.blobs import FileBlobStore
from cache_service.store.eviction import Bound, Bounds, ranking_for
from cache_service.store.hot import HotEntryStore, open_hot_store
from cache_service.store.migrations import migrate
from cache_service.store.sql import SqlEntryStore, open_store


@dataclass(frozen=True, slots=True)
class Storage:
    """The data directory, whose lock this process has, and what lies in it."""

    data: DataDirectory
    store: HotEntryStore
    blobs: FileBlobStore


async def open_storage(settings: Settings, stack: contextlib.AsyncExitStack, url: str | None) -> Storage:
    """Locks the data directory and opens what lies in it. url: where the service will answer, for the lock. Raises CacheServiceError."""
    data = hold(settings, stack, url)
    database = configured_database(settings)
    await migrate(database)
    store = await open_hot_store(
        database, settings.hot_entry_bytes, ranking=ranking_for(settings.eviction, bounds(settings))
    )
    stack.push_async_callback(store.aclose)
    return Storage(data, store, await FileBlobStore.open(settings.data_dir / "blobs"))


async def open_evictor(settings: Settings, storage: Storage, follower: Follower, hook: Hook) -> Evictor:
    """Who keeps what is stored within its bounds."""
    evictor = Evictor(
        storage.store,
        storage.blobs,
        bounds=bounds(settings),
        unreferenced=storage.store.unreferenced,
        catch_up=follower.catch_up,
        hook=hook,
    )
    await evictor.start()
    return evictor


def hold(settings: Settings, stack: contextlib.AsyncExitStack, url: str | None) -> DataDirectory:
    """The data directory, locked until the end. Raises ConfigurationError where another process holds it."""
    data = DataDirectory(settings.data_dir)
    data.create()
    data.acquire(url)
    stack.callback(data.release)
    return data


def configured_database(settings: Settings) -> str:
    """The URL of the database; SQLite in the data directory where none is set."""
    if settings.database_url:
        return settings.database_url.get_secret_value()
    return f"sqlite:///{settings.data_dir.absolute()}/cache.db"


async def open_entry_store(settings: Settings, stack: contextlib.AsyncExitStack) -> SqlEntryStore:
    """The store of entries, its schema migrated."""
    url = configured_database(settings)
    await migrate(url)
    store = await open_store(url, ranking=ranking_for(settings.eviction, bounds(settings)))
    stack.push_async_callback(store.aclose)
    return store


def bounds(settings: Settings) -> Bounds:
    """How much may be stored."""
    return Bounds(
        total=Bound(settings.max_entries, settings.max_blob_bytes),
        each=Bound(settings.namespace_max_entries, settings.namespace_max_blob_bytes),
        named={bound.name: Bound(bound.max_entries, bound.max_blob_bytes) for bound in settings.namespace_bounds},
    )


def lifetimes(settings: Settings) -> Lifetimes:
    """How long answers stay fresh."""
    operations = {"images": settings.ttl_images, "chat": settings.ttl_chat}
    return Lifetimes(operations, dict(settings.ttl_models), settings.ttl_volatile)
