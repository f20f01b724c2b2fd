"""Follows SQL's change feed into the vector index, at start and while running; SQL is the truth, the index only follows.

An index that can't follow is rebuilt from SQL, which takes minutes at a million entries. A service serves meanwhile: exact hits as always,
by meaning what the index holds by then. Nothing that is gone can be served, since an entry's row is read from SQL before.
"""

from __future__ import annotations

import asyncio
import logging

from cache_service.errors import StoreError
from cache_service.index.base import IndexPosition, VectorIndex
from cache_service.store.base import EntryStore, FeedPosition, Stored
from cache_service.store.entry import NewEntry

log = logging.getLogger(__name__)

PAGE = 128
"""Changes or vectors read in one query and checked on the loop, in 2 to 3 ms."""

AT_ONCE = 10_000  # entries that a rebuild reads before a service goes on: a second or two


class Follower:
    """Keeps one index where the change feed is."""

    def __init__(self, store: EntryStore, index: VectorIndex, *, embedding_model: str) -> None:
        self._store = store
        self._index = index
        self._model = embedding_model
        self._one_at_a_time = asyncio.Lock()
        self._saved: IndexPosition | None = None
        self._run_rebuilds = False
        self._reading: tuple[FeedPosition, int] | None = (
            None  # a rebuild: the feed as it began, and the last entry read
        )

    @property
    def rebuilding(self) -> bool:
        """Whether the index doesn't hold everything yet."""
        return self._reading is not None

    async def start(self, *, run_rebuilds: bool = False) -> None:
        """Loads the snapshot if it is of this database and model, else rebuilds; then catches up. Raises StoreError.

        run_rebuilds: of a rebuild, now or later, all but the first entries are left to `run`, so that nobody waits for it.
        """
        self._run_rebuilds = run_rebuilds
        feed = await self._store.position()
        if await self._index.load(epoch=feed.epoch, model_id=self._model):
            self._saved = self._index.position
        await self.catch_up()

    async def catch_up(self, *, at_least: int | None = None) -> None:
        """Applies every change up to now, or returns at once if `at_least` is applied already. Raises StoreError.

        While `run` rebuilds the index it returns at once: what is new is found when that is done.
        """
        if self._reading is not None and self._run_rebuilds:
            return
        async with self._one_at_a_time:
            if self._reading is None:
                position = self._index.position
                if at_least is not None and position is not None and position.number >= at_least:
                    return
                feed = await self._store.position()
                if position is not None and _continues(position, feed):
                    await self._apply(position)
                    return
                log.info("building the index from the database")
                self._index.clear()
                self._reading = feed, 0
            await self._read(AT_ONCE if self._run_rebuilds else None)

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
        """Polls for ever, so that other processes' changes arrive; saves a snapshot now and then, and after a rebuild."""
        polls = 0
        while True:
            try:
                if self._reading is not None:
                    async with self._one_at_a_time:
                        await self._read(None)
                    await self.save()
                await asyncio.sleep(poll)
                polls += 1
                await self.catch_up()
                if polls * poll >= save_every:
                    polls = 0
                    await self.save()
            except (StoreError, OSError):
                log.exception("the index could not follow the database; trying again")
                await asyncio.sleep(poll)

    async def save(self) -> None:
        """Writes a snapshot if anything changed since the last one; none of an index that is being rebuilt.

        What is stored meanwhile doesn't wait for it: the index saves what it holds at one moment.
        """
        position = self._index.position
        if position is not None and position != self._saved:
            await self._index.save()
            self._saved = position

    async def save_last(self) -> None:
        """As `save`, at the end of the process: where that fails, the next start rebuilds the index, and nothing else is lost."""
        try:
            await self.save()
        except (StoreError, OSError):
            log.exception("the index could not be saved; the next start rebuilds it")

    async def _apply(self, position: IndexPosition) -> None:
        while changes := await self._store.changes(after=position.number, limit=PAGE):
            changed = {change.entry_id for change in changes}
            rows = {row.entry_id: row for row in await self._store.vectors(changed, embedding_model=self._model)}
            for entry_id in sorted(changed):  # the index likes ids that grow
                if row := rows.get(entry_id):
                    self._index.add(entry_id, row.partition, row.vector)
                else:
                    self._index.remove(entry_id)
            position = IndexPosition(position.epoch, changes[-1].number)
            self._index.advance(position)

    async def _read(self, at_most: int | None) -> None:
        """Goes on reading vectors, of some `at_most` entries. What changes meanwhile has a larger number than the feed had as it began."""
        assert self._reading is not None  # noqa: S101  for the type checker: who calls has seen it
        feed, last = self._reading
        count = 0
        while at_most is None or count < at_most:
            rows = await self._store.scan_vectors(embedding_model=self._model, after_id=last, limit=PAGE)
            for row in rows:
                self._index.add(row.entry_id, row.partition, row.vector)
            if not rows:
                position = IndexPosition(feed.epoch, feed.number)
                self._index.advance(position)
                self._reading = None
                log.info("the index holds %d entries", len(self._index))
                await self._apply(position)
                return
            last, count = rows[-1].entry_id, count + len(rows)
            self._reading = feed, last


def _continues(position: IndexPosition, feed: FeedPosition) -> bool:
    """Whether the feed still holds every change after `position`: the same database, not an older dump, nothing trimmed away."""
    return position.epoch == feed.epoch and position.number <= feed.number and feed.oldest <= position.number + 1
