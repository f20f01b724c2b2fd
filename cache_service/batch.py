"""What a batch is: the values that its store, its job and its interface share, and what the job may rely on from the store. Pure.

A batch is up to some thousands of requests under one id. Each item ends once, in one of four states, and gets a number then: results
are read in the order in which they came, from any place, as often as one likes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

WAITING, SENT = "waiting", "sent"
EndState: TypeAlias = Literal["done", "failed", "skipped", "cancelled"]
"""done: answered. failed: the problem says why. skipped: a budget said stop. cancelled: the client did, before it was begun."""

BatchState: TypeAlias = Literal["running", "cancelling", "completed", "cancelled"]

HITS = frozenset({"hit", "stale-hit", "collapsed"})
"""Decisions that paid nothing; `collapsed` also names the second of two equal items."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a batch is run.

    concurrency: requests at once, None for what the service allows. budget_usd: begin nothing that could cost more in all;
    allow_unknown_price: with a budget, begin also what has no known price, as if it were free.
    via_batch_api: send what is missing through the upstream's own Batch API, for half the price and within a day.
    """

    concurrency: int | None = None
    budget_usd: float | None = None
    allow_unknown_price: bool = False
    via_batch_api: bool = False


@dataclass(frozen=True, slots=True)
class NewItem:
    """One request of a new batch. request, steering: JSON. same_as: position of the first item that is equal in all, if another is."""

    operation: str
    request: str
    steering: str
    same_as: int | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One request that is still to be answered; position: its place in the batch, from 0."""

    position: int
    operation: str
    request: str
    steering: str


@dataclass(frozen=True, slots=True)
class Ended:
    """How one item ended. cache: how the answer came about; body: the response, or the problem where there is none; both JSON.

    collapsed: `cache` of the items that are equal to this one. usd: what was paid, None where the price isn't known.
    """

    position: int
    state: EndState
    body: str
    decision: str = ""
    usd: float | None = None
    cache: str | None = None
    collapsed: str | None = None


@dataclass(frozen=True, slots=True)
class ItemResult:
    """One result as it is read. number: 1 for the first that ended. cache, body: as in `Ended`."""

    number: int
    position: int
    state: EndState
    cache: str | None
    body: str


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as it stands. number: within this database. ended: items that have. Times are Unix seconds."""

    number: int
    id: str
    namespace: str
    client: str
    total: int
    ended: int
    options: Options
    created_at: float
    cancelled_at: float | None = None
    ended_at: float | None = None

    @property
    def state(self) -> BatchState:
        """In words."""
        if self.ended_at is None:
            return "running" if self.cancelled_at is None else "cancelling"
        return "completed" if self.cancelled_at is None else "cancelled"


@dataclass(frozen=True, slots=True)
class Tally:
    """A batch's items by outcome; they add up to its total. usd: paid so far, of unknown_price more generations nobody knows what."""

    hits: int = 0
    generated: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0
    sent: int = 0
    waiting: int = 0
    usd: float = 0.0
    unknown_price: int = 0


@dataclass(frozen=True, slots=True)
class SentItem:
    """An item that goes through the upstream's Batch API. body: what is sent, JSON; draft: the entry it is to become, JSON."""

    position: int
    body: str
    draft: str


@dataclass(frozen=True, slots=True)
class UpstreamBatch:
    """One batch at the upstream. path: its endpoint, below the base URL. key_name: which API key it belongs to.

    file_id, upstream_id: None until the upstream gave them. state: "open" until every item of it has its outcome.
    """

    number: int
    path: str
    key_name: str = ""
    file_id: str | None = None
    upstream_id: str | None = None
    state: Literal["open", "ended"] = "open"


@dataclass(frozen=True, slots=True)
class TooManyRunning:
    """`create` changed nothing: so many batches of the client run."""

    running: int


class BatchStore(Protocol):
    """Batches in SQL. Whatever changes something is durable when it returns. Raises StoreError."""

    async def create(
        self, batch: Batch, items: Sequence[NewItem], *, owner: str, lease: float, most_running: int
    ) -> Batch | TooManyRunning:
        """Files a batch, owned by `owner` until `lease` (Unix seconds), unless `most_running` of its client run."""

    async def find(self, batch_id: str, *, namespace: str) -> Batch | None:
        """The batch, if it is the namespace's."""

    async def tally(self, number: int) -> Tally:
        """Its items by outcome."""

    async def cancel(self, number: int, *, at: float) -> None:
        """Notes that nothing more is to be begun. Idempotent; nothing happens to one that has ended."""

    async def delete(self, number: int) -> bool:
        """Deletes a batch that has ended, with its results; whether there was one."""

    async def results(self, number: int, *, after: int, limit: int, most_bytes: int) -> list[ItemResult]:
        """Results with a larger number, in order; at least one if there is one, else as many as fit into the bytes."""

    async def waiting(self, number: int, *, after: int, limit: int) -> list[Item]:
        """Items that wait and equal no earlier one, by position."""

    async def end_items(self, number: int, ended: Sequence[Ended]) -> int:
        """Ends items that haven't, and those that are equal to them. One transaction; returns how many ended."""

    async def finish(self, number: int, *, at: float) -> bool:
        """Ends the batch if every item has; returns whether it is ended."""

    async def claim(self, *, owner: str, now: float, lease: float) -> list[Batch]:
        """Takes every running batch that is the owner's already or whose lease is over."""

    async def renew(self, number: int, *, owner: str, lease: float) -> Batch | None:
        """Keeps the batch; None if it is another owner's by now."""

    async def trim(self, *, before: float) -> int:
        """Deletes batches that ended before that time, with their results; returns how many."""

    async def send(self, number: int, path: str, items: Sequence[SentItem]) -> UpstreamBatch:
        """Files that those waiting items go to the upstream as one batch."""

    async def sent_items(self, upstream: UpstreamBatch, *, after: int, limit: int) -> list[SentItem]:
        """Items of the upstream's batch that have no outcome yet, by position."""

    async def sent_item(self, upstream: UpstreamBatch, position: int) -> SentItem | None:
        """The same, of one position."""

    async def update_upstream(self, upstream: UpstreamBatch) -> None:
        """Notes what is known of it now."""

    async def open_upstream(self, number: int) -> list[UpstreamBatch]:
        """The batch's batches at the upstream that are open."""
