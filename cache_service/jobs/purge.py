"""Purging: from what an operator names to a predicate, and from the predicate to every tier of this node.

A purge holds here before its answer: SQL, index, generations in flight and blobs. Elsewhere it holds within a second.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from cache_service.cache_key.normalize import prompt_digest
from cache_service.embedding.base import Embedder
from cache_service.errors import InvalidRequest
from cache_service.instrumentation.events import EntriesRemoved, Hook
from cache_service.store.base import BlobStore, EntryStore
from cache_service.store.entry import PurgePredicate, Similar
from cache_service.store.records import Act

CONFIRMATION = "purge all"


@dataclass(frozen=True, slots=True)
class PurgeRequest:
    """What an operator names; all members given must match. `everything` needs `confirm` to be "purge all", but for a dry run.

    prompt: that prompt in any partition. similar_to: prompts whose cosine to it is ≥ `similarity` (default 0.92).
    older_than: seconds since the entry was generated. dry_run: count and change nothing.
    """

    key: str | None = None
    prompt: str | None = None
    similar_to: str | None = None
    similarity: float | None = None
    tag: str | None = None
    namespace: str | None = None
    operation: str | None = None
    model: str | None = None
    older_than: float | None = None
    everything: bool = False
    confirm: str | None = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class PurgeResult:
    """How many entries went, or would go. number: the purge's place in the change feed, None for a dry run."""

    count: int
    dry_run: bool
    number: int | None = None


class Purger:
    """Deletes entries from every tier of this node.

    forget: makes single-flight drop generations in flight that fall under the predicate, so that nobody joins them any more.
    catch_up: makes the index follow the change feed to its end. operations: the names that an entry can have.
    """

    def __init__(
        self,
        store: EntryStore,
        blobs: BlobStore,
        embedder: Embedder,
        *,
        forget: Callable[[PurgePredicate], None],
        catch_up: Callable[[], Awaitable[None]],
        hook: Hook,
        default_similarity: float,
        operations: Collection[str] = ("images", "chat"),
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._embedder = embedder
        self._forget = forget
        self._catch_up = catch_up
        self._hook = hook
        self.default_similarity = default_similarity
        self._operations = operations
        self._now = now

    async def purge(self, request: PurgeRequest, *, by: str = "admin") -> PurgeResult:
        """Purges, or counts for a dry run; `by` is who asked, for the audit log. Raises InvalidRequest where nothing is named or `all` isn't confirmed.

        An unknown operation is refused too: a count of 0 would read as "it's gone".
        """
        predicate = await self._predicate(request)
        if request.dry_run:
            return PurgeResult(await self._store.count(predicate), dry_run=True)
        purged = await self._store.purge(predicate, by=Act(by, "purge", _named(predicate)))
        self._forget(predicate)
        await self._catch_up()
        await self._blobs.collect(purged.orphaned_blobs, unreferenced=self._store.unreferenced)
        self._hook(EntriesRemoved("purged", purged.count))
        return PurgeResult(purged.count, dry_run=False, number=purged.number)

    async def _predicate(self, request: PurgeRequest) -> PurgePredicate:
        if request.everything and not request.dry_run and request.confirm != CONFIRMATION:
            raise InvalidRequest(
                f'purging all entries needs "confirm": "{CONFIRMATION}"', param="confirm", code="confirmation_required"
            )
        if request.operation is not None and request.operation not in self._operations:
            raise InvalidRequest(
                f"operation must be one of: {', '.join(sorted(self._operations))}",
                param="operation",
                code="unknown_operation",
            )
        if request.similarity is not None and request.similar_to is None:
            raise InvalidRequest("similarity needs similar_to: the prompt to compare with", param="similarity")
        similar = None
        if request.similar_to is not None:
            (embedding,) = await self._embedder.embed([request.similar_to])
            at_least = self.default_similarity if request.similarity is None else request.similarity
            similar = Similar(self._embedder.model_id, embedding.vector, at_least)
        predicate = PurgePredicate(
            key=request.key,
            prompt_digest=None if request.prompt is None else prompt_digest(request.prompt),
            similar=similar,
            tag=request.tag,
            namespace=request.namespace,
            operation=request.operation,
            model=request.model,
            created_before=None if request.older_than is None else self._now() - request.older_than,
            everything=request.everything,
        )
        if predicate.empty:
            raise InvalidRequest(
                "name what to purge: key, prompt, similar_to, tag, namespace, operation, model, older_than, or all with confirm"
            )
        return predicate


def _named(predicate: PurgePredicate) -> dict[str, object]:
    """What was purged, for the audit log: of a prompt its digest alone, since a purge may be there to forget it."""
    members = {
        "key": predicate.key,
        "prompt_digest": predicate.prompt_digest,
        "similarity": None if predicate.similar is None else float(predicate.similar.at_least),
        "tag": predicate.tag,
        "namespace": predicate.namespace,
        "operation": predicate.operation,
        "model": predicate.model,
        "created_before": predicate.created_before,
        "all": predicate.everything or None,
    }
    return {name: value for name, value in members.items() if value is not None}
