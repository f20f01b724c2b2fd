"""The store with a hot tier in front: an entry that was read lately is found without asking the database.

What this process changes is dropped before the change is acknowledged; what others change, when the feed tells of it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from cache_service.errors import StoreError
from cache_service.store.base import (
    Evicted,
    FeedPosition,
    OnConflict,
    Problem,
    Purged,
    RefusedByPurge,
    Stored,
)
from cache_service.store.engine import Database
from cache_service.store.entry import Entry, NewEntry, Payment, PurgePredicate, StoredVector
from cache_service.store.eviction import Excess, Ranking
from cache_service.store.hot_tier import HotTier
from cache_service.store.records import Act
from cache_service.store.sql import SqlEntryStore, open_database

log = logging.getLogger(__name__)

PAGE = 1000  # changes read in one query


async def open_hot_store(
    url: str,
    most: int,
    *,
    clock: Callable[[], float] = time.time,
    ranking: Ranking | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> HotEntryStore:
    """As `open_store`, with a tier of so many bytes in front."""
    database = await open_database(url)
    return HotEntryStore(database, HotTier(most), clock=clock, ranking=ranking or Ranking(), monotonic=monotonic)


class HotEntryStore(SqlEntryStore):
    """A `SqlEntryStore`, faster. It answers from memory only while `follow` is called more than once a second; `run` does."""

    def __init__(
        self,
        database: Database,
        hot: HotTier,
        *,
        clock: Callable[[], float],
        ranking: Ranking,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(database, clock=clock, ranking=ranking)
        self.hot = hot
        self._monotonic = monotonic
        self._followed: FeedPosition | None = None
        self._one_at_a_time = asyncio.Lock()

    async def find(self, exact_key: str, *, embedding_model: str) -> Entry | None:
        """From memory, else one statement."""
        entry = self.hot.find(exact_key, embedding_model, self._monotonic())
        if entry is None:
            mark = self.hot.mark
            entry = await super().find(exact_key, embedding_model=embedding_model)
            if entry is not None:
                self.hot.keep(entry, embedding_model, mark)
        return entry

    async def fetch(self, entry_ids: Collection[int], *, embedding_model: str) -> dict[int, Entry]:
        """From memory, the others by one statement for each thousand ids."""
        now, mark = self._monotonic(), self.hot.mark
        found = {i: entry for i in entry_ids if (entry := self.hot.by_id(i, embedding_model, now)) is not None}
        if len(found) < len(entry_ids):
            rest = [entry_id for entry_id in entry_ids if entry_id not in found]
            read = await super().fetch(rest, embedding_model=embedding_model)
            for entry in read.values():
                self.hot.keep(entry, embedding_model, mark)
            found |= read
        return found

    async def put(
        self, new: NewEntry, on_conflict: OnConflict, *, payment: Payment | None = None
    ) -> Stored | RefusedByPurge:
        """As the database does it."""
        outcome = await super().put(new, on_conflict, payment=payment)
        if isinstance(outcome, Stored):
            self.hot.drop([outcome.entry.id])
        return outcome

    async def set_vectors(self, stored: Mapping[int, StoredVector]) -> int:
        """As the database does it."""
        count = await super().set_vectors(stored)
        self.hot.drop(stored)
        return count

    async def quarantine(self, entry_ids: Collection[int]) -> int:
        """As the database does it."""
        count = await super().quarantine(entry_ids)
        self.hot.drop(entry_ids)
        return count

    async def purge(self, predicate: PurgePredicate, *, by: Act | None = None) -> Purged:
        """As the database does it, and the feed is followed up to it."""
        purged = await super().purge(predicate, by=by)
        await self._follow_or_forget()
        return purged

    async def expire(self, *, before: float, limit: int) -> Purged:
        """As the database does it, and the feed is followed up to it."""
        expired = await super().expire(before=before, limit=limit)
        if expired.count:
            await self._follow_or_forget()
        return expired

    async def evict(self, excess: Excess, *, limit: int, now: float) -> Evicted:
        """As the database does it, and the feed is followed up to it."""
        evicted = await super().evict(excess, limit=limit, now=now)
        if evicted.count:
            await self._follow_or_forget()
        return evicted

    async def check(self, *, fix: bool) -> list[Problem]:
        """As the database does it; what was mended nobody has to know."""
        problems = await super().check(fix=fix)
        if fix:
            self.hot.clear()
        return problems

    async def follow(self) -> None:
        """Applies every change up to now. Raises StoreError."""
        async with self._one_at_a_time:
            began = self._monotonic()
            feed = await self.position()
            before, number = self._followed, feed.number
            if before is not None and _continues(before, feed):
                number = before.number
                while number < feed.number and (changes := await self.changes(after=number, limit=PAGE)):
                    self.hot.drop([change.entry_id for change in changes])
                    number = changes[-1].number
            if before is None or number < feed.number or not _continues(before, feed):
                self.hot.clear()
                number = feed.number
            self._followed = replace(feed, number=number)
            self.hot.checked(began)

    async def run(self, *, every: float) -> None:
        """Follows the feed every `every` seconds, for ever; while that fails, the database is asked."""
        while True:
            try:
                await self.follow()
            except StoreError:
                log.exception("the change feed can't be read: entries are read from the database each time")
            await asyncio.sleep(every)

    async def _follow_or_forget(self) -> None:
        """Before a change is acknowledged: what it took isn't served any more, whatever happens to the feed."""
        try:
            await self.follow()
        except StoreError:
            log.exception("the change feed can't be read after a change")
            self.hot.clear()


def _continues(before: FeedPosition, feed: FeedPosition) -> bool:
    """Whether the feed still holds every change since: the same database, not an older dump, nothing trimmed away."""
    return before.epoch == feed.epoch and before.number <= feed.number and feed.oldest <= before.number + 1
