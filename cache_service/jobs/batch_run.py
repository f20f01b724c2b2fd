"""One batch under way: its items go through the cache's eight steps as anyone's request does, behind those that people wait for.

    go            what earlier runs left ─► workers ─► what is never begun ─► the batch's end
      _one        one item: what is there is a hit; with a budget only what fits it is begun
        _ask      the request; where there is no capacity it waits its turn, and tries again
        _end      its outcome, durable before the next item is begun

Killed at any point, the next run goes on with the items that have no outcome: what an answer was stored for is a hit then.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from cache_service.answer import Caller, Failed, Result
from cache_service.batch import HITS, Batch, BatchStore, Ended, Item
from cache_service.decision import Directives
from cache_service.errors import (
    CacheServiceError,
    CapacityExceeded,
    NotBegun,
    NotCached,
    StoreError,
    UpstreamError,
    UpstreamRefused,
)
from cache_service.instrumentation.events import BatchItemEnded, Hook
from cache_service.jobs.batch_result import Problem, ended, failed
from cache_service.jobs.batch_through import Control, Through, ThroughMeans

if TYPE_CHECKING:
    from cache_service.service import Cache

log = logging.getLogger(__name__)

Estimate: TypeAlias = Callable[[str, Mapping[str, Any]], float | None]
"""(operation, request) → USD the generation may cost, None where no price is known."""

Pause: TypeAlias = Callable[[float], Awaitable[None]]

PRIORITY: Final = -10
"""Of a batch's calls in the upstream's queue; those of clients have 0."""
PAGE: Final = 100  # items read at once
TRIES: Final = 8  # of an item that the upstream refuses for now
PATIENCE: Final = 86_400.0
"""Seconds in which an item's turn must come where capacity is short; precedent: the 24 h of OpenAI's own batches."""
LONGEST_PAUSE: Final = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class Means:
    """What a run works with. slots: bounds the items of all batches that are under way. grown: called when items have ended.

    pause: sleeps so many seconds. through: the upstream's Batch API, None where there is none.
    """

    store: BatchStore
    cache: Cache
    estimate: Estimate
    problem: Problem
    hook: Hook
    slots: asyncio.Semaphore
    concurrency: int
    grown: Callable[[], None]
    now: Callable[[], float]
    pause: Pause = asyncio.sleep
    through: ThroughMeans | None = None


class Run:
    """One batch under way. `stop` it, and nothing more is begun; what is paid ends and is filed."""

    def __init__(self, batch: Batch, means: Means) -> None:
        self.batch = batch
        self._means = means
        self._stopped = asyncio.Event()
        self._why: Literal["", "cancelled", "interrupted"] = ""
        self._budget = Budget(batch.options.budget_usd)
        self._endings = _Endings(batch.number, means.store)
        self._failures = 0  # in a row; the longer, the longer until the next item is begun
        self._store_failed: StoreError | None = None

    def stop(self, why: Literal["cancelled", "interrupted"]) -> None:
        """Begins nothing more. interrupted: a later run goes on."""
        self._why = self._why or why
        self._stopped.set()

    async def go(self) -> None:
        """The batch to its end, or until it is interrupted. Raises StoreError where outcomes can't be filed: a later run goes on."""
        store, number = self._means.store, self.batch.number
        self._budget.spent = (await store.tally(number)).usd
        if self.batch.cancelled_at is not None:
            self.stop("cancelled")
        if self.batch.options.via_batch_api and self._means.through is not None:
            await Through(self.batch, self._means.through, self._control(), spent=self._budget.spent).go()
        items = self._waiting()
        wanted = self.batch.options.concurrency or self._means.concurrency
        await asyncio.gather(
            *(self._work(items) for _ in range(min(wanted, self._means.concurrency, self.batch.total)))
        )
        if self._store_failed is not None:
            raise self._store_failed
        if self._why == "interrupted":
            return
        await self._never_begin_the_rest()
        await store.finish(number, at=self._means.now())
        self._means.grown()

    def _control(self) -> Control:
        return Control(
            store=self._means.store,
            problem=self._means.problem,
            estimate=self._means.estimate,
            directives=_directives,
            wait=self._wait,
            pause=self._means.pause,
            why=lambda: self._why,
            end=self._end,
        )

    async def _waiting(self) -> AsyncIterator[Item]:
        """What waits, a page at a time; ends when nothing more is to be begun."""
        after = -1
        while not self._stopped.is_set() and (
            page := await self._means.store.waiting(self.batch.number, after=after, limit=PAGE)
        ):
            for item in page:
                if self._stopped.is_set():
                    return
                yield item
            after = page[-1].position

    async def _work(self, items: AsyncIterator[Item]) -> None:
        while True:
            async with self._means.slots:
                item = await self._next(items)
                if item is None:
                    return
                try:
                    if (end := await self._one(item)) is not None:
                        await self._end(end, item.operation)
                except StoreError as error:
                    self._store_failed = error
                    self.stop("interrupted")
                    return

    async def _next(self, items: AsyncIterator[Item]) -> Item | None:
        if self._failures:
            await self._wait(min(LONGEST_PAUSE, 2.0**self._failures))
        async with self._endings.taking:  # a generator runs for one worker at a time
            return await anext(items, None)

    async def _one(self, item: Item) -> Ended | None:
        """The item's end; None where it wasn't begun and a later run may."""
        request = json.loads(item.request)
        try:
            if self._budget.usd is None:
                return await self._asked(item, request, None)
            there = await self._look(item, request)
            if there is not None:
                return there
            expected = self._means.estimate(item.operation, request)
            if expected is None and not self.batch.options.allow_unknown_price:
                error = NotBegun("no price is known for this request, and the batch has a budget", code="unknown_price")
                return failed(item.position, error, self._means.problem, "skipped")
            async with self._budget.reserved(expected or 0.0, self._stopped) as fits:
                if not fits and not self._stopped.is_set():
                    return self._over_budget(item.position)
                return await self._asked(item, request, expected) if fits else None
        except CacheServiceError as error:
            return failed(item.position, error, self._means.problem)
        except Exception:  # one item must not hold up the others, nor the batch be begun with it again and again
            log.exception("an item of a batch ended in a way nobody foresaw")
            return failed(item.position, CacheServiceError(), self._means.problem)

    async def _look(self, item: Item, request: Mapping[str, Any]) -> Ended | None:
        """What is there already, or a refusal; None where it must be generated."""
        result = await self._once(item, request, only_if_cached=True)
        if isinstance(result, Failed) and isinstance(result.error, NotCached):
            return None if not _directives(item)[0].only_if_cached else await self._as_end(item, result, None)
        return await self._as_end(item, result, None)

    async def _asked(self, item: Item, request: Mapping[str, Any], expected: float | None) -> Ended | None:
        result = await self._ask(item, request)
        if result is None:
            return None
        end = await self._as_end(item, result, expected)
        self._budget.spent += end.usd or 0.0
        return end

    async def _as_end(self, item: Item, result: Result, expected: float | None) -> Ended:
        return await ended(item.position, result, self._means.problem, expected=expected)

    async def _ask(self, item: Item, request: Mapping[str, Any]) -> Result | None:
        """The request until it has an answer or an error that waiting doesn't mend; None where the batch was stopped meanwhile."""
        tries, waited = 0, 0.0
        while True:
            result = await self._once(item, request)
            error = result.error if isinstance(result, Failed) else None
            delay = _again(error, tries, waited)
            self._failures = self._failures + 1 if isinstance(error, UpstreamError) and error.transient else 0
            if delay is None:
                return result
            tries, waited = tries + 1, waited + delay
            await self._wait(delay)
            if self._stopped.is_set():
                return None

    async def _once(self, item: Item, request: Mapping[str, Any], *, only_if_cached: bool = False) -> Result:
        directives, tags = _directives(item)
        return await self._means.cache.get_or_generate(
            item.operation,
            request,
            caller=Caller(self.batch.namespace, self.batch.client),
            directives=replace(directives, only_if_cached=directives.only_if_cached or only_if_cached),
            tags=tags,
            request_id=f"{self.batch.id}-{item.position}",
            priority=PRIORITY,
        )

    def _over_budget(self, position: int) -> Ended:
        error = NotBegun("it could cost more than the batch's budget leaves", code="over_budget")
        return failed(position, error, self._means.problem, "skipped")

    async def _end(self, end: Ended, operation: str) -> None:
        await self._endings.file(end)
        outcome = end.state if end.state != "done" else "hit" if end.decision in HITS else "generated"
        self._means.hook(BatchItemEnded(operation, outcome))
        self._means.grown()

    async def _never_begin_the_rest(self) -> None:
        """Gives what still waits its end: cancelled by the client."""
        store, number, problem = self._means.store, self.batch.number, self._means.problem
        error = NotBegun("the batch was cancelled before this item was begun", code="cancelled")
        while page := await store.waiting(number, after=-1, limit=PAGE):
            await store.end_items(number, [failed(item.position, error, problem, "cancelled") for item in page])
            for item in page:
                self._means.hook(BatchItemEnded(item.operation, "cancelled"))
            self._means.grown()

    async def _wait(self, seconds: float) -> None:
        """So many seconds, or until the run is stopped."""
        either = {asyncio.ensure_future(self._means.pause(seconds)), asyncio.ensure_future(self._stopped.wait())}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in either:
                task.cancel()


class Budget:
    """Money that a run may spend. spent: so far; usd: None where nothing bounds it."""

    def __init__(self, usd: float | None) -> None:
        self.usd = usd
        self.spent = 0.0
        self._reserved: list[float] = []
        self._settled = asyncio.Condition()

    @asynccontextmanager
    async def reserved(self, usd: float, stopped: asyncio.Event) -> AsyncIterator[bool]:
        """Holds so much for the block; gives False where it doesn't fit although nothing else is under way, or the run was stopped.

        What doesn't fit now waits for those under way, which may cost less than they hold.
        """
        async with self._settled:
            await self._settled.wait_for(lambda: stopped.is_set() or not self._reserved or self._fits(usd))
            fits = self._fits(usd) and not stopped.is_set()
            if fits:
                self._reserved.append(usd)
        try:
            yield fits
        finally:
            if fits:
                async with self._settled:
                    self._reserved.remove(usd)
                    self._settled.notify_all()

    def _fits(self, usd: float) -> bool:
        return self.usd is None or self.spent + sum(self._reserved) + usd <= self.usd


class _Endings:
    """Files outcomes: whoever comes first writes for all that wait, in one transaction."""

    def __init__(self, number: int, store: BatchStore) -> None:
        self._number = number
        self._store = store
        self._waiting: list[tuple[Ended, asyncio.Future[None]]] = []
        self._turn = asyncio.Lock()
        self.taking = asyncio.Lock()

    async def file(self, end: Ended) -> None:
        """Durable when it returns. Raises StoreError."""
        filed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((end, filed))
        async with self._turn:
            if not filed.done():
                together, self._waiting = self._waiting, []
                try:
                    await self._store.end_items(self._number, [one for one, _ in together])
                except StoreError as error:
                    for _, other in together:
                        if other is not filed and not other.cancelled():
                            other.set_exception(error)
                    raise
                for _, other in together:
                    if not other.cancelled():
                        other.set_result(None)
        await filed


def _directives(item: Item) -> tuple[Directives, frozenset[str]]:
    """As they were filed; a member that this release doesn't know is left out."""
    steering = json.loads(item.steering)
    known = {
        name: value for name, value in steering.get("directives", {}).items() if name in Directives.__dataclass_fields__
    }
    return Directives(**known), frozenset(steering.get("tags", ()))


def _again(error: CacheServiceError | None, tries: int, waited: float) -> float | None:
    """Seconds after which the same request is worth another try; None for never.

    Only what can't have been paid: no capacity, which passes, or a refusal for now.
    """
    match error:
        case CapacityExceeded(retry_after=float() | int() as wait) if waited < PATIENCE:
            return min(LONGEST_PAUSE, max(1.0, wait))
        case UpstreamRefused(transient=True) if tries + 1 < TRIES:
            return min(LONGEST_PAUSE, max(2.0**tries, error.retry_after or 0.0))
        case _:
            return None
