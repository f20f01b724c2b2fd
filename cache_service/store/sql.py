"""Entries in SQL: the same code on SQLite and PostgreSQL. What each question asks stands in `reading`, what a store does in
`storing`, what a purge does in `removal`, and how changes are numbered in `feed`.

A row that isn't what was written is quarantined when it is met, and counts as not there.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from functools import partial

from cache_service.errors import StoreError
from cache_service.store import checks, feed, reading, removal, storing
from cache_service.store.base import (
    Change,
    FeedPosition,
    OnConflict,
    Problem,
    Purged,
    RefusedByPurge,
    Stored,
    VectorRow,
)
from cache_service.store.engine import Database
from cache_service.store.entry import Entry, NewEntry, Output, PurgePredicate, StoredVector
from cache_service.store.migrations import require_current

ATTEMPTS = 10
"""How often `put` is tried when the entry it met is gone before it could be looked at."""


async def open_store(url: str, *, clock: Callable[[], float] = time.time) -> SqlEntryStore:
    """Opens a database that `migrate` has brought to this program's schema.

    url: `sqlite:///…` or `postgresql://…`. clock: Unix seconds, for the times in the change feed.
    Raises SchemaMismatch, StoreError, ConfigurationError.
    """
    database = Database(url)
    try:
        await require_current(database)
    except BaseException:
        await database.aclose()
        raise
    return SqlEntryStore(database, clock=clock)


class SqlEntryStore:
    """An `EntryStore` on a database; `base` says what each method promises."""

    def __init__(self, database: Database, *, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    @property
    def failed(self) -> str | None:
        """What the database said when a write failed for good."""
        return self._database.failed

    async def find(self, exact_key: str, *, embedding_model: str) -> Entry | None:
        """One statement."""
        found = await self._database.read(lambda c: reading.by_key(c, exact_key, embedding_model))
        await self._quarantine_corrupt(found.corrupt)
        return next(iter(found.entries.values()), None)

    async def fetch(self, entry_ids: Collection[int], *, embedding_model: str) -> dict[int, Entry]:
        """One statement for each thousand ids."""
        found = await self._database.read(lambda c: reading.by_ids(c, entry_ids, embedding_model))
        await self._quarantine_corrupt(found.corrupt)
        return found.entries

    async def put(self, new: NewEntry, on_conflict: OnConflict) -> Stored | RefusedByPurge:
        """One transaction, and one fsync on SQLite."""
        if not new.outputs:
            raise StoreError("an entry without outputs can't be served, so it isn't stored")
        for _ in range(ATTEMPTS):
            outcome: Stored | RefusedByPurge | None = await self._database.write(
                lambda c: storing.put(c, new, on_conflict, at=self._clock())
            )
            if outcome is not None:
                return outcome
        raise StoreError("the entry was deleted again and again while it was being stored")

    async def set_vectors(self, stored: Mapping[int, StoredVector]) -> int:
        """One transaction."""
        return await self._database.write(lambda c: storing.set_vectors(c, stored, at=self._clock()))

    async def quarantine(self, entry_ids: Collection[int]) -> int:
        """One transaction."""
        return await self._database.write(lambda c: removal.quarantine(c, entry_ids, at=self._clock()))

    async def position(self) -> FeedPosition:
        """One statement."""
        return await self._database.read(feed.position)

    async def changes(self, *, after: int, limit: int) -> list[Change]:
        """One statement."""
        return await self._database.read(lambda c: feed.changes_after(c, after, limit))

    async def vectors(self, entry_ids: Collection[int], *, embedding_model: str) -> list[VectorRow]:
        """One statement for each thousand ids."""
        return await self._database.read(lambda c: reading.vectors_of(c, entry_ids, embedding_model))

    async def scan_vectors(self, *, embedding_model: str, after_id: int, limit: int) -> list[VectorRow]:
        """One statement."""
        return await self._database.read(lambda c: reading.scan_vectors(c, embedding_model, after_id, limit))

    async def purge(self, predicate: PurgePredicate) -> Purged:
        """One transaction; by similarity the vectors are read before it begins."""
        if predicate.empty:
            return Purged(0, (await self.position()).number, ())
        scanned: tuple[int, list[int]] | None = None
        if predicate.similar is not None:
            since = (await self.position()).number
            scanned = since, await self._database.read(lambda c: removal.matching(c, predicate))
        return await self._database.write(
            lambda c: removal.purge(c, predicate, scanned=scanned, at=self._clock()),
        )

    async def count(self, predicate: PurgePredicate) -> int:
        """The purge's own query."""
        return len(await self._database.read(lambda c: removal.matching(c, predicate)))

    async def readable_blob(self, sha256: str, *, namespace: str, now: float) -> Output | None:
        """One statement."""
        return await self._database.read(lambda c: reading.readable_blob(c, sha256, namespace, now))

    async def unreferenced(self, blobs: Collection[str]) -> set[str]:
        """One statement for each thousand digests."""
        return await self._database.read(lambda c: removal.unreferenced(c, blobs))

    async def expire(self, *, before: float, limit: int) -> Purged:
        """One transaction."""
        return await self._database.write(
            lambda c: removal.expire(c, before=before, limit=limit, at=self._clock()),
        )

    async def trim_changes(self, *, before: float) -> int:
        """One transaction."""
        return await self._database.write(lambda c: feed.trim(c, before))

    async def totals(self) -> dict[str, int]:
        """One statement; reads every output."""
        return await self._database.read(reading.totals)

    async def check(self, *, fix: bool) -> list[Problem]:
        """Reads everything; what is mended is mended in one transaction."""
        findings = await self._database.read(checks.find)
        if not fix or not findings:
            return [finding.problem for finding in findings]
        return await self._database.write(lambda c: checks.mend(c, findings, at=self._clock()))

    async def referenced_blobs(self) -> AsyncIterator[str]:
        """A page at a time, in order."""
        after = ""
        while page := await self._database.read(partial(reading.blobs_after, after=after)):
            for blob in page:
                yield blob
            after = page[-1]

    async def aclose(self) -> None:
        """Waits for writes under way."""
        await self._database.aclose()

    async def _quarantine_corrupt(self, entry_ids: list[int]) -> None:
        """Takes damaged entries out of service for good; if that can't be written, they are passed over again next time."""
        if entry_ids:
            with contextlib.suppress(StoreError):
                await self.quarantine(entry_ids)
