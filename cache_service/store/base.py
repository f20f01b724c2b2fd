"""What callers may rely on from the stores: entries in SQL (the truth), pictures as blobs, and the spool of what is being paid.

- Acknowledged means durable: when `put` or `purge` returns, a kill -9 or a power cut loses nothing of it.
- Every change (store, add outputs, replace, expire, purge) is a row in `changes`, numbered by one counter row that is
  updated as the last statement before the commit, so that a reader who polls `number > last` misses none.
- Feedback on semantic hits is durable and numbered by the same counter; the hits it speaks of are a bounded record beside it.
- A purge is a predicate with a number, read inside each store's transaction: what began before it isn't stored.

Raised: `StoreError` and its subclasses (`StoreCorrupt`, `StoreReadOnly`, `SchemaMismatch`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

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
    SpoolHeader,
    StoredVector,
    Sum,
)
from cache_service.store.eviction import Excess, Held
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

OnConflict: TypeAlias = Literal["append", "replace", "keep"]
"""What `put` does when the exact key is there already: add the outputs, put them in place of the old ones, or change nothing."""


class ChangeKind(StrEnum):
    """What happened to an entry: after `expired`, `evicted`, `purged` and `quarantined` it is gone, after the others a follower looks again.

    `judged`: a client judged a hit, or that was undone; no entry changed. `other`: a word of a newer release; a follower looks again.
    """

    STORED = "stored"
    OUTPUTS_ADDED = "outputs-added"
    REPLACED = "replaced"
    EXPIRED = "expired"
    EVICTED = "evicted"
    PURGED = "purged"
    QUARANTINED = "quarantined"
    RE_EMBEDDED = "re-embedded"
    JUDGED = "judged"
    OTHER = "other"

    @classmethod
    def _missing_(cls, value: object) -> ChangeKind:
        """While releases are changed one node at a time, an older one reads what a newer one writes."""
        return cls.OTHER


@dataclass(frozen=True, slots=True)
class Change:
    """One row of the change feed. Numbers have no gaps; `entry_id` is 0 in the row of a purge that took no entry, and of feedback."""

    number: int
    kind: ChangeKind
    entry_id: int


@dataclass(frozen=True, slots=True)
class FeedPosition:
    """Where the change feed stands.

    epoch: random, made with the database; another epoch means another database (or an older dump: rebuild).
    number: of the newest change. oldest: number of the oldest row still kept (number + 1 if none is).
    """

    epoch: str
    number: int
    oldest: int


@dataclass(frozen=True, slots=True)
class Stored:
    """`put` committed: the entry as it now stands, the number of the change, and the blobs that nothing refers to any more.

    fresh: there was no entry of that key, so the change `number` is this one, and its vector is the one it was given.
    """

    entry: Entry
    number: int
    orphaned_blobs: tuple[str, ...] = ()
    fresh: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class RefusedByPurge:
    """`put` changed nothing: the purge `number` came after the generation began."""

    number: int


@dataclass(frozen=True, slots=True)
class Purged:
    """A purge committed: how many entries went, the change number it holds, and the blobs nothing refers to any more."""

    count: int
    number: int
    orphaned_blobs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Use:
    """How often an entry was served since it was last recorded, and when for the last time (Unix seconds)."""

    times: int
    at: float


@dataclass(frozen=True, slots=True)
class Evicted:
    """An eviction committed: how many entries went, its change number, orphaned blobs, and what was freed by namespace."""

    count: int
    number: int
    orphaned_blobs: tuple[str, ...]
    freed: Mapping[str, Held]


@dataclass(frozen=True, slots=True, eq=False)
class VectorRow:
    """One entry's place in the vector index."""

    entry_id: int
    partition: str
    vector: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something `check` found; `fixed` if it was mended."""

    kind: str
    detail: str
    fixed: bool = False


class EntryStore(Protocol):
    """Entries in SQL."""

    @property
    def failed(self) -> str | None:
        """Why nothing can be stored any more until a restart; None while all is well."""

    async def find(self, exact_key: str, *, embedding_model: str) -> Entry | None:
        """The entry with that key, live or expired; None if there is none or it is quarantined."""

    async def find_or_begin(self, exact_key: str, *, embedding_model: str) -> tuple[Entry | None, int]:
        """As `find`, past any memory; and the number to give a generation that begins now."""

    async def fetch(self, entry_ids: Collection[int], *, embedding_model: str) -> dict[int, Entry]:
        """Those of the entries that exist and aren't quarantined, by id; one query."""

    async def put(
        self, new: NewEntry, on_conflict: OnConflict, *, payment: Payment | None = None
    ) -> Stored | RefusedByPurge:
        """Stores the entry and its outputs in one durable transaction. The blobs it names must be durable already.

        payment: what it cost, filed in the same transaction; not where a purge refuses the entry.
        append: the entry keeps its age and envelope, gains the outputs and tags. Goes on to its end if the caller is cancelled.
        """

    async def set_vectors(self, stored: Mapping[int, StoredVector]) -> int:
        """Files vectors of another embedding model, or analyses of another version, by entry id; durable.

        Each takes the place of the entry's vector of that model. Returns how many of the entries exist and aren't quarantined.
        """

    async def quarantine(self, entry_ids: Collection[int]) -> int:
        """Takes entries out of service without deleting them (a wrong hit, a blob that can't be read); durable.

        The next `put` of their exact key replaces them, whatever its `on_conflict`. Returns how many were in service.
        """

    async def position(self) -> FeedPosition:
        """The change feed's position; its number also is the one to give a generation that begins now."""

    async def changes(self, *, after: int, limit: int) -> list[Change]:
        """Changes with a larger number, in order."""

    async def vectors(self, entry_ids: Collection[int], *, embedding_model: str) -> list[VectorRow]:
        """The vectors of those entries that can be found by meaning (exist, not quarantined, not exact-only)."""

    async def scan_vectors(self, *, embedding_model: str, after_id: int, limit: int) -> list[VectorRow]:
        """All such vectors by ascending entry id, a page at a time, to build an index."""

    async def without_vector(self, *, embedding_model: str, after_id: int, limit: int) -> list[tuple[int, str]]:
        """Id and prompt of entries in service that have a vector, but none of that model; by id."""

    async def purge(self, predicate: PurgePredicate, *, by: Act | None = None) -> Purged:
        """Deletes what matches and files the predicate, so that generations in flight are refused too. Durable.

        by: for the audit log, in the same transaction; None where no operator asked.
        """

    async def count(self, predicate: PurgePredicate) -> int:
        """How many entries `purge` would take now; changes nothing."""

    async def readable_blob(self, sha256: str, *, namespace: str, now: float) -> Output | None:
        """The output through which a caller of that namespace may read the blob: of a live entry, or None."""

    async def unreferenced(self, blobs: Collection[str]) -> set[str]:
        """Those of the blobs that no output refers to."""

    async def holding(self, blob: str) -> list[int]:
        """The entries in service that have an output with that blob."""

    async def expire(self, *, before: float, limit: int) -> Purged:
        """Deletes up to `limit` entries whose `expires_at` is before that time (Unix seconds)."""

    async def trim_changes(self, *, before: float) -> int:
        """Deletes rows of the change feed and of purges older than that time; returns how many.

        What began before a purge that is no longer kept is refused by `put`, since nobody knows what the purge named.
        """

    async def totals(self) -> dict[str, int]:
        """Number of entries, outputs and bytes in blobs: {"entries": …, "outputs": …, "blob_bytes": …}."""

    async def check(self, *, fix: bool) -> list[Problem]:
        """Looks for rows that contradict each other, runs the database's own check; mends what can be mended if `fix`."""

    def referenced_blobs(self) -> AsyncIterator[str]:
        """Every blob digest that an output refers to, each at least once."""

    async def aclose(self) -> None:
        """Closes connections; idempotent."""


class FeedbackStore(Protocol):
    """The record of served semantic hits, and what clients said of them. A namespace never sees another's."""

    async def record_hits(self, hits: Sequence[ServedHit]) -> None:
        """Adds hits, in the order in which they were served; one durable transaction."""

    async def find_hit(
        self, *, namespace: str, key: str | None = None, request_id: str | None = None
    ) -> ServedHit | None:
        """The newest recorded hit of the namespace with that exact key (asked or stored) or request id; None if there is none."""

    async def trim_hits(self, *, keep: int) -> int:
        """Deletes all but the newest `keep` hits; returns how many went."""

    async def add_feedback(self, hit: ServedHit, verdict: Judgement, *, client: str, by: Act | None = None) -> Feedback:
        """Files a verdict; durable. Its number is a change of its own in the feed. by: the operator, for the audit log."""

    async def undo_feedback(self, number: int, *, by: Act | None = None) -> Feedback | None:
        """Marks the feedback as undone, and leaves it in the record; durable and idempotent. None if there is no such feedback."""

    async def feedback_after(self, number: int) -> list[Feedback]:
        """Every feedback given or undone with a larger change number, oldest first."""

    async def list_feedback(self, *, namespace: str | None, before: int | None, limit: int) -> list[Feedback]:
        """The newest feedback first, undone or not, with the prompts where they are stored; numbers smaller than `before`."""


class AdminStore(Protocol):
    """What operators look at, their keys, and what they did. Every page is one query whose work is bounded."""

    async def list_entries(self, wanted: EntryFilter, *, after: Place | None, limit: int) -> EntryPage:
        """Entries of every namespace, the newest first; `after`: where the last page ended."""

    async def entry_detail(self, entry_id: int) -> EntryDetail | None:
        """One entry, also a quarantined one."""

    async def entry_id(self, exact_key: str) -> int | None:
        """The entry with that key."""

    async def hits_of(self, *, namespace: str, key: str, limit: int) -> list[ServedHit]:
        """The newest recorded semantic hits that the key had a part in, on either side."""

    async def any_output(self, sha256: str) -> Output | None:
        """An output that refers to the blob, of any entry; None if there is none."""

    async def judged(
        self, *, namespace: str | None, operation: str | None
    ) -> list[tuple[float, Judgement | None, int]]:
        """Semantic hits by similarity, rounded down to 0.005: (similarity, verdict or None for all recorded hits, how many)."""

    async def add_key(self, new: NewKey, *, by: Act) -> StoredKey:
        """Files a key; durable. Raises StoreError where the digest is there already."""

    async def revoke_key(self, key_id: int, *, by: Act) -> StoredKey | None:
        """Makes the key open nothing any more; durable and idempotent. None if there is no such key."""

    async def live_keys(self) -> list[StoredKey]:
        """Every key that opens something."""

    async def list_keys(self, *, before: int | None, limit: int) -> list[StoredKey]:
        """All keys, revoked or not, the newest first; ids smaller than `before`."""

    async def clients_exist(self) -> bool:
        """Whether a client's key was ever made, revoked or not."""

    async def add_act(self, act: Act, *, count: int) -> None:
        """Files an act that changes nothing in the database (a login)."""

    async def list_acts(self, *, before: int | None, limit: int) -> list[AuditRecord]:
        """The audit log, the newest first; ids smaller than `before`."""


class LedgerStore(Protocol):
    """What was spent, row by row, and what was asked and spent added up by day."""

    async def pay(self, payments: Collection[Payment]) -> None:
        """Files payments; one durable transaction. One that is filed already changes nothing."""

    async def add(self, sums: Mapping[Daily, Sum]) -> None:
        """Adds to daily sums; one durable transaction."""

    async def spent(self, day: int, *, simulated: bool) -> Spent:
        """What was spent on that day and in all, with the simulator or without it."""

    async def sums(self, first: int, last: int) -> dict[Daily, Sum]:
        """The sums of those days, both included."""

    async def payments(self, *, limit: int) -> list[Payment]:
        """The newest payments first."""

    async def trim_payments(self, *, before: float) -> int:
        """Deletes payments from before that time (Unix seconds); the sums stay. Returns how many went."""


class EvictingStore(Protocol):
    """What entries are worth keeping, and making room."""

    async def record_uses(self, uses: Mapping[int, Use]) -> None:
        """Counts hits by entry id; an entry that is gone is passed over."""

    async def held(self) -> dict[str, Held]:
        """Entries and bytes of their pictures, by namespace."""

    async def evict(self, excess: Excess, *, limit: int, now: float) -> Evicted:
        """Deletes up to `limit` entries, the expired and the least worth first, until the excess is gone. Durable."""

    async def rank(self) -> int:
        """Ranks what isn't ranked by the present rule, a page at a time; returns how many entries that were."""


class Ahead(Protocol):
    """Pictures that may be written before it is known whether they are to be kept."""

    def begin(self, picture: bytes) -> None:
        """Returns at once, in any thread. What fails is told by `writing`."""


class BlobStore(Protocol):
    """Pictures by the SHA-256 (hex) of their bytes. Immutable, so equal pictures are kept once."""

    @property
    def failed(self) -> str | None:
        """Why nothing can be stored any more until a restart; None while all is well."""

    def ahead(self) -> AbstractAsyncContextManager[Ahead]:
        """What is begun in the block and not given to `writing` until it ends is as if it had never been."""

    def writing(
        self, pictures: Sequence[bytes], *, digests: Sequence[str] | None = None, ahead: Ahead | None = None
    ) -> AbstractAsyncContextManager[list[str]]:
        """Makes the pictures durable and gives their digests in order; until the block ends they can't be collected.

        digests: of the pictures, where the caller has computed them already. ahead: where these very bytes may have been begun.
        """

    async def read(self, sha256: str) -> bytes:
        """The bytes, checked against the digest. Raises StoreCorrupt if they are missing or don't match."""

    async def collect(
        self,
        blobs: Iterable[str],
        *,
        unreferenced: Callable[[Collection[str]], Awaitable[set[str]]] | None = None,
    ) -> int:
        """Deletes those of the blobs that nobody is writing; returns how many went. An unknown digest is no error.

        unreferenced: `EntryStore.unreferenced`, asked while no writer can begin. Without it, a blob that was written and
        committed between the caller's own question and this call would be lost.
        """

    async def all(self) -> list[str]:
        """Every stored digest."""


class SpoolFile(Protocol):
    """One generation being received."""

    async def append(self, piece: bytes) -> None:
        """Adds bytes as they arrived; survives a killed process (not a power cut)."""

    async def discard(self) -> None:
        """Removes it: its answer is stored, or isn't to be."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """A generation found at start: its header and what had arrived."""

    header: SpoolHeader
    body: bytes
    file: SpoolFile


class Spool(Protocol):
    """Guards what is paid but not yet stored against a killed process."""

    async def open(self, header: SpoolHeader) -> SpoolFile:
        """Begins the file of one generation, before the request is sent."""

    async def recover(self) -> list[Spooled]:
        """What an earlier process left behind; files with an unreadable header are set aside, not deleted."""
