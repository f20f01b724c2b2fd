"""Follows SQL's change feed into the vector index, at start and while running; SQL is the truth, the index only follows."""

from __future__ import annotations

import asyncio
import logging

from cache_service.errors import StoreError
from cache_service.index.base import IndexPosition, VectorIndex
from cache_service.store.base import EntryStore, FeedPosition, Stored
from cache_service.store.entry import NewEntry

log = logging.getLogger(__name__)

PAGE = 1000  # changes or vectors read in one query


class Follower:
    """Keeps one index where the change feed is."""

    def __init__(self, store: EntryStore, index: VectorIndex, *, embedding_model: str) -> None:
        self._store = store
        self._index = index
        self._model = embedding_model
        self._one_at_a_time = asyncio.Lock()
        self._saved: IndexPosition | None = None

    async def start(self) -> None:
        """Loads the snapshot if it is of this database and model, else rebuilds; then catches up. Raises StoreError."""
        feed = await self._store.position()
        if await self._index.load(epoch=feed.epoch, model_id=self._model):
            self._saved = self._index.position
        await self.catch_up()

    async def catch_up(self, *, at_least: int | None = None) -> None:
        """Applies every change up to now, or returns at once if `at_least` is applied already. Raises StoreError."""
        async with self._one_at_a_time:
            position = self._index.position
            if at_least is not None and position is not None and position.number >= at_least:
                return
            feed = await self._store.position()
            if position is None or not _continues(position, feed):
                await self._rebuild(feed)
            else:
                await self._apply(position)

    async def take(self, stored: Stored, new: NewEntry) -> None:
        """Applies what this process has just stored: without reading it back, where it is the very next change. Raises StoreError."""
        position = self._index.position
        next_ = position is not None and position.number + 1 == stored.number and not self._one_at_a_time.locked()
        if position is None or not next_ or not stored.fresh:
            await self.catch_up(at_least=stored.number)
            return
        if new.vector is not None and new.vector.model_id == self._model:
            self._index.add(stored.entry.id, new.partition, new.vector.vector)
        self._index.advance(IndexPosition(position.epoch, stored.number))

    async def run(self, *, poll: float, save_every: float) -> None:
        """Polls for ever, so that other processes' changes arrive; saves a snapshot now and then."""
        polls = 0
        while True:
            await asyncio.sleep(poll)
            polls += 1
            try:
                await self.catch_up()
                if polls * poll >= save_every:
                    polls = 0
                    await self.save()
            except (StoreError, OSError):
                log.exception("the index could not follow the database; trying again")

    async def save(self) -> None:
        """Writes a snapshot if anything changed since the last one."""
        async with self._one_at_a_time:
            if self._index.position is not None and self._index.position != self._saved:
                await self._index.save()
                self._saved = self._index.position

    async def _apply(self, position: IndexPosition) -> None:
        while changes := await self._store.changes(after=position.number, limit=PAGE):
            changed = {change.entry_id for change in changes}
            rows = {row.entry_id: row for row in await self._store.vectors(changed, embedding_model=self._model)}
            for entry_id in changed:
                if row := rows.get(entry_id):
                    self._index.add(entry_id, row.partition, row.vector)
                else:
                    self._index.remove(entry_id)
            position = IndexPosition(position.epoch, changes[-1].number)
            self._index.advance(position)

    async def _rebuild(self, feed: FeedPosition) -> None:
        """Reads all vectors; what changes meanwhile has a larger number than `feed` and is applied by the next round."""
        log.info("building the index from the database")
        self._index.clear()
        last = 0
        while rows := await self._store.scan_vectors(embedding_model=self._model, after_id=last, limit=PAGE):
            for row in rows:
                self._index.add(row.entry_id, row.partition, row.vector)
            last = rows[-1].entry_id
        position = IndexPosition(feed.epoch, feed.number)
        self._index.advance(position)
        await self._apply(position)


def _continues(position: IndexPosition, feed: FeedPosition) -> bool:
    """Whether the feed still holds every change after `position`: the same database, not an older dump, nothing trimmed away."""
    return position.epoch == feed.epoch and position.number <= feed.number and feed.oldest <= position.number + 1
