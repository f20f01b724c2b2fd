"""Batches in memory; passes the same contract suite as the real store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from cache_service.batch import (
    HITS,
    SENT,
    WAITING,
    Batch,
    Ended,
    Item,
    ItemResult,
    NewItem,
    SentItem,
    Tally,
    TooManyRunning,
    UpstreamBatch,
)


@dataclass
class _Row:
    item: Item
    same_as: int | None
    state: str = WAITING
    number: int = 0
    end: Ended | None = None
    upstream: int = 0
    sent: SentItem | None = None


class FakeBatchStore:
    """As `SqlBatchStore`, gone with the process."""

    def __init__(self) -> None:
        self.batches: dict[int, Batch] = {}
        self.rows: dict[int, list[_Row]] = {}
        self.owners: dict[int, tuple[str, float]] = {}
        self.upstream: dict[int, tuple[int, UpstreamBatch]] = {}

    async def create(
        self, batch: Batch, items: Sequence[NewItem], *, owner: str, lease: float, most_running: int
    ) -> Batch | TooManyRunning:
        running = sum(one.client == batch.client and one.ended_at is None for one in self.batches.values())
        if running >= most_running:
            return TooManyRunning(running)
        number = len(self.batches) + 1
        self.batches[number] = replace(batch, number=number)
        self.rows[number] = [
            _Row(Item(position, item.operation, item.request, item.steering), item.same_as)
            for position, item in enumerate(items)
        ]
        self.owners[number] = owner, lease
        return self.batches[number]

    async def find(self, batch_id: str, *, namespace: str) -> Batch | None:
        fits = [one for one in self.batches.values() if (one.id, one.namespace) == (batch_id, namespace)]
        return fits[0] if fits else None

    async def tally(self, number: int) -> Tally:
        counts = dict.fromkeys(asdict(Tally()), 0)
        usd = 0.0
        for row in self.rows[number]:
            outcome = row.state
            if row.end is not None and outcome == "done":
                outcome = "hits" if row.end.decision in HITS else "generated"
            counts[outcome] += 1
            if row.end is not None and outcome == "generated":
                usd += row.end.usd or 0.0
                counts["unknown_price"] += row.end.usd is None
        return Tally(**{**counts, "usd": usd})  # type: ignore[arg-type]

    async def cancel(self, number: int, *, at: float) -> None:
        batch = self.batches[number]
        if batch.ended_at is None and batch.cancelled_at is None:
            self.batches[number] = replace(batch, cancelled_at=at)

    async def delete(self, number: int) -> bool:
        if number not in self.batches or self.batches[number].ended_at is None:
            return False
        del self.batches[number], self.rows[number], self.owners[number]
        return True

    async def results(self, number: int, *, after: int, limit: int, most_bytes: int) -> list[ItemResult]:
        found: list[ItemResult] = []
        for row in sorted(self.rows.get(number, []), key=lambda row: row.number):
            if row.end is None or row.number <= after or len(found) >= limit:
                continue
            most_bytes -= len(row.end.body)
            if most_bytes < 0 and found:
                break
            found.append(ItemResult(row.number, row.item.position, row.end.state, row.end.cache, row.end.body))
        return found

    async def waiting(self, number: int, *, after: int, limit: int) -> list[Item]:
        return [
            row.item
            for row in self.rows[number]
            if row.state == WAITING and row.same_as is None and row.item.position > after
        ][:limit]

    async def end_items(self, number: int, ended: Sequence[Ended]) -> int:
        before = self.batches[number].ended
        for one in ended:
            row = self.rows[number][one.position]
            if row.end is not None:
                continue
            self._end(number, row, one)
            copy = replace(one, cache=one.collapsed, usd=None, decision="collapsed")
            for other in self.rows[number]:
                if other.same_as == one.position and other.state == WAITING:
                    self._end(number, other, copy)
        return self.batches[number].ended - before

    def _end(self, number: int, row: _Row, end: Ended) -> None:
        batch = self.batches[number]
        self.batches[number] = replace(batch, ended=batch.ended + 1)
        row.state, row.end, row.number = end.state, end, batch.ended + 1

    async def finish(self, number: int, *, at: float) -> bool:
        batch = self.batches[number]
        if batch.ended < batch.total:
            return False
        self.batches[number] = replace(batch, ended_at=batch.ended_at or at)
        return True

    async def claim(self, *, owner: str, now: float, lease: float) -> list[Batch]:
        taken = []
        for number, (holder, until) in self.owners.items():
            if self.batches[number].ended_at is None and (holder == owner or until < now):
                self.owners[number] = owner, lease
                taken.append(self.batches[number])
        return taken

    async def renew(self, number: int, *, owner: str, lease: float) -> Batch | None:
        if self.owners[number][0] != owner:
            return None
        self.owners[number] = owner, lease
        return self.batches[number]

    async def trim(self, *, before: float) -> int:
        old = [n for n, one in self.batches.items() if one.ended_at is not None and one.ended_at < before]
        for number in old:
            del self.batches[number], self.rows[number], self.owners[number]
        return len(old)

    async def send(self, number: int, path: str, items: Sequence[SentItem]) -> UpstreamBatch:
        upstream = UpstreamBatch(len(self.upstream) + 1, path)
        self.upstream[upstream.number] = number, upstream
        for item in items:
            row = self.rows[number][item.position]
            row.state, row.upstream, row.sent = SENT, upstream.number, item
        return upstream

    async def sent_items(self, upstream: UpstreamBatch, *, after: int, limit: int) -> list[SentItem]:
        rows = self.rows[self.upstream[upstream.number][0]]
        sent = [row.sent for row in rows if row.state == SENT and row.upstream == upstream.number]
        return [item for item in sent if item is not None and item.position > after][:limit]

    async def sent_item(self, upstream: UpstreamBatch, position: int) -> SentItem | None:
        return next(iter(await self.sent_items(upstream, after=position - 1, limit=1)), None)

    async def update_upstream(self, upstream: UpstreamBatch) -> None:
        self.upstream[upstream.number] = self.upstream[upstream.number][0], upstream

    async def open_upstream(self, number: int) -> list[UpstreamBatch]:
        return [one for batch, one in self.upstream.values() if batch == number and one.state == "open"]
