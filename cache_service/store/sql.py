"""Entries and feedback in SQL: the same code on SQLite and PostgreSQL. What each question asks stands in `reading`, what a store does in
`storing`, what a purge does in `removal`, hits and feedback in `judging`, money in `ledger`, how changes are numbered in `feed`; what
operators see in `listing`, their keys in `keys`, what they did in `auditing`.

A row that isn't what was written is quarantined when it is met, and counts as not there.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from cache_service.errors import StoreError
from cache_service.store import (
    auditing,
    checks,
    feed,
    judging,
    keeping,
    keys,
    ledger,
    listing,
    reading,
    removal,
    storing,
    words,
)
from cache_service.store.base import (
    Change,
    Evicted,
    FeedPosition,
    OnConflict,
    Problem,
    Purged,
    RefusedByPurge,
    Stored,
    Use,
    VectorRow,
)
from cache_service.store.engine import Database
from cache_service.store.entry import (
    Daily,
    Entry,
    Feedback,
    Judgement,
    NewEntry,
    Output,
    Payment,
    PurgePredicate,
    ServedHit,
    Spent,
    StoredVector,
    Sum,
)
from cache_service.store.eviction import Excess, Held, Ranking
from cache_service.store.grouping import GroupCommit
from cache_service.store.migrations import require_current
from cache_service.store.records import (
    Act,
    AuditRecord,
    EntryDetail,
    EntryFilter,
    EntryPage,
    NewKey,
    Place,
    StoredKey,
)

ATTEMPTS = 10
"""How often `put` is tried when the entry it met is gone before it could be looked at."""


async def open_store(
    url: str, *, clock: Callable[[], float] = time.time, ranking: Ranking | None = None
) -> SqlEntryStore:
    """Opens a database that `migrate` has brought to this program's schema.

    url: `sqlite:///…` or `postgresql://…`. clock: Unix seconds, for the times in the change feed. ranking: what goes first.
    Raises SchemaMismatch, StoreError, ConfigurationError.
    """
    return SqlEntryStore(await open_database(url), clock=clock, ranking=ranking or Ranking())


async def open_database(url: str) -> Database:
    """The database alone, once its schema is known to be this program's. Raises as `open_store`."""
    database = Database(url)
    try:
        await require_current(database)
    except BaseException:
        await database.aclose()
        raise
    return database


class SqlEntryStore:
    """An `EntryStore`, a `FeedbackStore`, an `AdminStore`, a `LedgerStore` and an `EvictingStore` on a database; `base` says what each method promises."""

    def __init__(self, database: Database, *, clock: Callable[[], float], ranking: Ranking) -> None:
        self._database = database
        self._clock = clock
        self._ranking = ranking
        self._puts: GroupCommit[storing.Wanted, Stored | RefusedByPurge] = GroupCommit(self._put)
        self._words = words.Learning(database)
        self._counted: int | None = None  # the change up to which every entry is counted in `worth`

    @property
    def database(self) -> Database:
        """Where the entries are: other stores share it, so that one writer has one queue."""
        return self._database

    @property
    def failed(self) -> str | None:
        """What the database said when a write failed for good."""
        return self._database.failed

    async def find(self, exact_key: str, *, embedding_model: str) -> Entry | None:
        """One statement, and before it a glance: most keys that aren't in memory aren't there."""
        if self._database.glance(lambda c: reading.is_absent(c, exact_key)):
            return None
        found = await self._database.answer(lambda c: reading.by_key(c, exact_key, embedding_model))
        await self._quarantine_corrupt(found.corrupt)
        return next(iter(found.entries.values()), None)

    async def find_or_begin(self, exact_key: str, *, embedding_model: str) -> tuple[Entry | None, int]:
        """Two statements in one go, mostly at a glance; a purge between them has a larger number."""

        async def absent(connection: AsyncConnection) -> int | None:
            number = await feed.number(connection)
            return number if await reading.is_absent(connection, exact_key) else None

        async def work(connection: AsyncConnection) -> tuple[int, reading.Found]:
            return await feed.number(connection), await reading.by_key(connection, exact_key, embedding_model)

        began = self._database.glance(absent)
        if began is not None:
            return None, began
        number, found = await self._database.answer(work)
        await self._quarantine_corrupt(found.corrupt)
        return next(iter(found.entries.values()), None), number

    async def fetch(self, entry_ids: Collection[int], *, embedding_model: str) -> dict[int, Entry]:
        """One statement for each thousand ids."""
        found = await self._database.answer(lambda c: reading.by_ids(c, entry_ids, embedding_model))
        await self._quarantine_corrupt(found.corrupt)
        return found.entries

    async def put(
        self, new: NewEntry, on_conflict: OnConflict, *, payment: Payment | None = None
    ) -> Stored | RefusedByPurge:
        """One transaction, shared with those that come meanwhile, and one fsync on SQLite."""
        if not new.outputs:
            raise StoreError("an entry without outputs can't be served, so it isn't stored")
        return await self._puts.add(storing.Wanted(new, on_conflict, payment))

    async def _put(self, wanted: Sequence[storing.Wanted]) -> list[Stored | RefusedByPurge]:
        """One transaction for all of them. Raises OneByOne where that wasn't possible and nothing was done."""
        ready = False

        async def work(connection: AsyncConnection) -> list[Stored | RefusedByPurge]:
            nonlocal ready
            ready = False
            stored = await storing.put(connection, wanted, self._ranking, at=self._clock())
            ready = True  # from here on it may have been committed, and must not be done twice
            return stored

        for _ in range(ATTEMPTS):
            try:
                outcome: Any = await self._database.write(work)
            except Exception as error:
                if len(wanted) > 1 and not ready:
                    raise storing.OneByOne from error
                raise
            if isinstance(outcome, list):
                self._words.stored(sum(isinstance(stored, Stored) and stored.fresh for stored in outcome))
                return outcome
            if outcome is not None:
                return [outcome]
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

    async def without_vector(self, *, embedding_model: str, after_id: int, limit: int) -> list[tuple[int, str]]:
        """One statement."""
        return await self._database.read(lambda c: reading.without_vector(c, embedding_model, after_id, limit))

    async def purge(self, predicate: PurgePredicate, *, by: Act | None = None) -> Purged:
        """One transaction; by similarity the vectors are read before it begins."""
        if predicate.empty:
            return Purged(0, (await self.position()).number, ())
        scanned: tuple[int, list[int]] | None = None
        if predicate.similar is not None:
            since = (await self.position()).number
            scanned = since, await self._database.look(lambda c: removal.matching(c, predicate))
        return await self._database.write(
            lambda c: removal.purge(c, predicate, scanned=scanned, at=self._clock(), by=by),
        )

    async def count(self, predicate: PurgePredicate) -> int:
        """The purge's own conditions, added up by the database where it can."""
        return await self._database.look(lambda c: removal.count(c, predicate))

    async def readable_blob(self, sha256: str, *, namespace: str, now: float) -> Output | None:
        """One statement."""
        return await self._database.answer(lambda c: reading.readable_blob(c, sha256, namespace, now))

    async def unreferenced(self, blobs: Collection[str]) -> set[str]:
        """One statement for each thousand digests."""
        return await self._database.read(lambda c: removal.unreferenced(c, blobs))

    async def holding(self, blob: str) -> list[int]:
        """One statement."""
        return await self._database.read(lambda c: reading.holding(c, blob))

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
        return await self._database.look(reading.totals)

    async def check(self, *, fix: bool) -> list[Problem]:
        """Reads everything; what is mended is mended in one transaction."""
        findings = await self._database.look(checks.find)
        if not fix:
            return [finding.problem for finding in findings]
        mended: list[Problem] = []
        if findings:
            mended = await self._database.write(lambda c: checks.mend(c, findings, at=self._clock()))
        return mended + await self._database.write(words.mend)

    async def referenced_blobs(self) -> AsyncIterator[str]:
        """A page at a time, in order."""
        after = ""
        while page := await self._database.look(partial(reading.blobs_after, after=after)):
            for blob in page:
                yield blob
            after = page[-1]

    async def record_hits(self, hits: Sequence[ServedHit]) -> None:
        """One transaction."""
        await self._database.write(lambda c: judging.record_hits(c, hits))

    async def find_hit(
        self, *, namespace: str, key: str | None = None, request_id: str | None = None
    ) -> ServedHit | None:
        """One statement."""
        return await self._database.read(lambda c: judging.find_hit(c, namespace, key, request_id))

    async def trim_hits(self, *, keep: int) -> int:
        """One transaction."""
        return await self._database.write(lambda c: judging.trim_hits(c, keep))

    async def add_feedback(self, hit: ServedHit, verdict: Judgement, *, client: str, by: Act | None = None) -> Feedback:
        """One transaction."""
        return await self._database.write(lambda c: judging.add(c, hit, verdict, client, at=self._clock(), by=by))

    async def undo_feedback(self, number: int, *, by: Act | None = None) -> Feedback | None:
        """One transaction."""
        return await self._database.write(lambda c: judging.undo(c, number, at=self._clock(), by=by))

    async def feedback_after(self, number: int) -> list[Feedback]:
        """One statement."""
        return await self._database.read(lambda c: judging.after(c, number))

    async def list_feedback(self, *, namespace: str | None, before: int | None, limit: int) -> list[Feedback]:
        """One statement."""
        return await self._database.look(lambda c: judging.newest(c, namespace, before, limit))

    async def list_entries(self, wanted: EntryFilter, *, after: Place | None, limit: int) -> EntryPage:
        """One statement; looks at `listing.SCANNED` rows at most. Before a search by text, what isn't learnt yet is."""
        if wanted.text:
            await self._words.catch_up()
        return await self._database.look(lambda c: listing.page(c, wanted, after, limit))

    async def entry_detail(self, entry_id: int) -> EntryDetail | None:
        """Three statements."""
        return await self._database.look(lambda c: listing.detail(c, entry_id))

    async def entry_id(self, exact_key: str) -> int | None:
        """One statement."""
        return await self._database.read(lambda c: listing.by_key(c, exact_key))

    async def hits_of(self, *, namespace: str, key: str, limit: int) -> list[ServedHit]:
        """One statement."""
        return await self._database.look(lambda c: judging.hits_of(c, namespace, key, limit))

    async def any_output(self, sha256: str) -> Output | None:
        """One statement."""
        return await self._database.look(lambda c: reading.any_output(c, sha256))

    async def judged(
        self, *, namespace: str | None, operation: str | None
    ) -> list[tuple[float, Judgement | None, int]]:
        """Two statements; reads every recorded hit."""
        return await self._database.look(lambda c: judging.bands(c, namespace, operation))

    async def add_key(self, new: NewKey, *, by: Act) -> StoredKey:
        """One transaction."""
        return await self._database.write(lambda c: keys.add(c, new, by, at=self._clock()))

    async def revoke_key(self, key_id: int, *, by: Act) -> StoredKey | None:
        """One transaction."""
        return await self._database.write(lambda c: keys.revoke(c, key_id, by, at=self._clock()))

    async def live_keys(self) -> list[StoredKey]:
        """One statement."""
        return await self._database.read(keys.live)

    async def list_keys(self, *, before: int | None, limit: int) -> list[StoredKey]:
        """One statement."""
        return await self._database.look(lambda c: keys.newest(c, before, limit))

    async def clients_exist(self) -> bool:
        """One statement."""
        return await self._database.read(keys.ever)

    async def add_act(self, act: Act, *, count: int) -> None:
        """One transaction."""
        await self._database.write(lambda c: auditing.file(c, act, count=count, at=self._clock()))

    async def list_acts(self, *, before: int | None, limit: int) -> list[AuditRecord]:
        """One statement."""
        return await self._database.look(lambda c: auditing.newest(c, before, limit))

    async def pay(self, payments: Collection[Payment]) -> None:
        """One transaction."""
        if payments:
            await self._database.write(lambda c: ledger.pay(c, payments))

    async def add(self, sums: Mapping[Daily, Sum]) -> None:
        """One transaction."""
        if sums:
            await self._database.write(lambda c: ledger.add(c, sums))

    async def spent(self, day: int, *, simulated: bool) -> Spent:
        """Two statements over the daily sums."""
        return await self._database.read(lambda c: ledger.spent(c, day, simulated=simulated))

    async def sums(self, first: int, last: int) -> dict[Daily, Sum]:
        """One statement."""
        return await self._database.read(lambda c: ledger.sums(c, first, last))

    async def payments(self, *, limit: int) -> list[Payment]:
        """One statement."""
        return await self._database.look(lambda c: ledger.newest(c, limit))

    async def trim_payments(self, *, before: float) -> int:
        """One transaction."""
        return await self._database.write(lambda c: ledger.trim(c, before))

    async def record_uses(self, uses: Mapping[int, Use]) -> None:
        """One transaction."""
        await self._database.write(lambda c: keeping.record_uses(c, uses, self._ranking))

    async def held(self) -> dict[str, Held]:
        """One statement; reads every row of `worth`."""
        return await self._database.look(keeping.held)

    async def evict(self, excess: Excess, *, limit: int, now: float) -> Evicted:
        """One transaction."""
        return await self._database.write(
            lambda c: keeping.evict(c, excess, self._ranking, limit=limit, now=now, at=self._clock())
        )

    async def rank(self) -> int:
        """One transaction for each page. Every entry is looked at once; from then on those that changed."""
        ranked, position = 0, await self.position()
        after = None if self._counted is None or self._counted + 1 < position.oldest else self._counted
        while ids := await self._database.look(partial(keeping.uncounted, after=after)):
            ranked += await self._database.write(partial(keeping.adopt, entry_ids=ids, ranking=self._ranking))
        self._counted = position.number
        if await self._database.read(keeping.rule) == self._ranking.rule:
            return ranked
        ranked = 0  # all of them are ranked again, also those that were counted just now
        last: int | None = 0
        while last is not None:
            last, count = await self._database.write(partial(keeping.rank_again, after_id=last, ranking=self._ranking))
            ranked += count
        return ranked

    async def aclose(self) -> None:
        """Waits for writes under way."""
        await self._puts.aclose()
        await self._words.aclose()
        await self._database.aclose()

    async def _quarantine_corrupt(self, entry_ids: list[int]) -> None:
        """Takes damaged entries out of service for good; if that can't be written, they are passed over again next time."""
        if entry_ids:
            with contextlib.suppress(StoreError):
                await self.quarantine(entry_ids)
