"""How what is stored is found again: the embedder, the index and what keeps it up to date."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from cache_service.bootstrap.models import embedder, verifier
from cache_service.config import Settings
from cache_service.embedding.base import Embedder
from cache_service.index.faiss import FaissIndex
from cache_service.instrumentation.events import Hook
from cache_service.jobs.follow import Follower
from cache_service.semantic_tier import SemanticTier
from cache_service.store.sql import SqlEntryStore


@dataclass(frozen=True, slots=True)
class Search:
    """The embedding model, the vectors it made, and what brings new ones to the index."""

    embedder: Embedder
    index: FaissIndex
    follower: Follower


async def open_search(settings: Settings, stack: contextlib.AsyncExitStack, store: SqlEntryStore) -> Search:
    """An index that has caught up with the store, unless it must be rebuilt, which its follower does as it runs; saved on leaving.

    Raises CacheServiceError.
    """
    embeddings = await embedder(settings)
    stack.push_async_callback(embeddings.aclose)
    index = FaissIndex(
        settings.data_dir / "index", dimension=embeddings.dimension, small_partition=settings.small_partition
    )
    stack.push_async_callback(index.aclose)
    follower = Follower(store, index, embedding_model=embeddings.model_id)
    await follower.start(run_rebuilds=True)
    stack.push_async_callback(follower.save_last)
    return Search(embeddings, index, follower)


async def semantic_tier(settings: Settings, store: SqlEntryStore, search: Search, hook: Hook) -> SemanticTier:
    """What looks for an entry by meaning, and verifies it. Raises VerificationError, ConfigurationError."""
    return SemanticTier(
        embedder=search.embedder,
        index=search.index,
        store=store,
        verifier=await verifier(settings),
        hook=hook,
        candidates=settings.search_candidates,
        embed_timeout=settings.embed_timeout,
        verify_timeout=settings.verify_timeout,
    )
