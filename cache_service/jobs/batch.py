"""Batches: takes them, runs them to their end across restarts, and gives their results from any place.

A batch that runs is held by one process, by a lease that it renews. A process that starts takes its own again at once, and those of
others once their lease is over; so a batch goes on after a kill, and on another node where several share a database.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from cache_service.answer import Caller
from cache_service.batch import Batch, BatchStore, ItemResult, NewItem, Options, Tally, TooManyRunning
from cache_service.errors import BatchRunning, NotFound, StoreError, TooManyBatches
from cache_service.instrumentation.events import BatchesInProgress
from cache_service.jobs.batch_run import Means, Run

log = logging.getLogger(__name__)

LEASE: Final = 30.0  # seconds a killed process's batches wait for another node
RENEW: Final = 5.0  # seconds; also until a batch cancelled on another node begins nothing more
LOOK: Final = 1.0  # seconds after which a follower looks again by itself: another node may be running the batch
PAGE_BYTES: Final = 4 * 2**20
"""Bytes of results read at once: with the items in flight, all that a batch holds in memory."""
PAGE: Final = 500  # results read at once


@dataclass(frozen=True, slots=True)
class Standing:
    """A batch and its items by outcome."""

    batch: Batch
    tally: Tally


class Batches:
    """All batches of this process. owner: names the process across restarts. most_running: batches of one client at once."""

    def __init__(self, store: BatchStore, *, owner: str, most_running: int) -> None:
        self._store = store
        self._owner = owner
        self._most_running = most_running
        self._means: Means | None = None
        self._runs: dict[int, tuple[Run, asyncio.Task[None]]] = {}
        self._grown = asyncio.Event()
        self._closing = False

    def begin(self, means: Means) -> None:
        """From now on batches are run."""
        self._means = means

    @property
    def closing(self) -> bool:
        """Whether nothing more is begun, because the process is to stop."""
        return self._closing

    def grown(self) -> None:
        """Items have ended: followers look."""
        self._grown.set()
        self._grown = asyncio.Event()

    async def submit(self, caller: Caller, items: Sequence[NewItem], options: Options) -> Batch:
        """Files a batch, durable, and begins it. Raises TooManyBatches, StoreError."""
        means = self._ready()
        now = means.now()
        batch = Batch(0, f"batch_{secrets.token_hex(16)}", caller.namespace, caller.client, len(items), 0, options, now)
        created = await self._store.create(
            batch, items, owner=self._owner, lease=now + LEASE, most_running=self._most_running
        )
        if isinstance(created, TooManyRunning):
            raise TooManyBatches(
                f"{created.running} batches of yours are running, as many as may: wait for one to end, or cancel it"
            )
        self._start(created)
        return created

    async def find(self, batch_id: str, caller: Caller) -> Batch:
        """The caller's batch. Raises NotFound, the same for another's and for none."""
        found = await self._store.find(batch_id, namespace=caller.namespace)
        if found is None:
            raise NotFound("there is no such batch")
        return found

    async def standing(self, batch_id: str, caller: Caller) -> Standing:
        """The batch as it stands. Raises NotFound."""
        batch = await self.find(batch_id, caller)
        return Standing(batch, await self._store.tally(batch.number))

    async def cancel(self, batch_id: str, caller: Caller) -> Standing:
        """Begins nothing more of it; what is in flight ends and is stored. Idempotent; one that has ended stays as it is. Raises NotFound."""
        batch = await self.find(batch_id, caller)
        await self._store.cancel(batch.number, at=self._ready().now())
        if batch.number in self._runs:
            self._runs[batch.number][0].stop("cancelled")
        return await self.standing(batch_id, caller)

    async def delete(self, batch_id: str, caller: Caller) -> Standing:
        """Forgets one that has ended, and gives how it stood; what was generated stays stored. Raises NotFound, BatchRunning."""
        last = await self.standing(batch_id, caller)
        if last.batch.ended_at is None:
            raise BatchRunning("the batch is still running: cancel it, or wait for its end")
        if not await self._store.delete(last.batch.number):
            raise NotFound("there is no such batch")  # someone else was quicker
        return last

    async def results(self, batch: Batch, *, after: int, limit: int = PAGE) -> list[ItemResult]:
        """The next results, as many as fit into PAGE_BYTES."""
        return await self._store.results(batch.number, after=after, limit=limit, most_bytes=PAGE_BYTES)

    async def follow(self, batch: Batch, *, after: int) -> AsyncIterator[list[ItemResult]]:
        """Results as they come, until the batch has ended or the process is to stop; empty lists while nothing comes."""
        while True:
            grown = self._grown
            page = await self.results(batch, after=after)
            if page:
                after = page[-1].number
                yield page
                continue
            current = await self._store.find(batch.id, namespace=batch.namespace)
            if current is None or self._closing or (current.ended_at is not None and current.ended <= after):
                return
            try:
                await asyncio.wait_for(grown.wait(), LOOK)
            except TimeoutError:
                yield []

    async def run(self, *, resume: bool, keep: float, every: float = RENEW) -> None:
        """Keeps what runs, and with `resume` goes on with what is left, until the drain. keep: seconds of results after the end."""
        while not self._closing:
            try:
                await self.look(resume=resume)
                await self._store.trim(before=self._ready().now() - keep)
            except StoreError:
                log.exception("batches can't be looked after; trying again")
            await asyncio.sleep(every)

    async def look(self, *, resume: bool = True) -> None:
        """One round: renews leases, hears of cancellations, with `resume` takes what nobody runs. Raises StoreError."""
        now = self._ready().now()
        for number, (run, _) in list(self._runs.items()):
            kept = await self._store.renew(number, owner=self._owner, lease=now + LEASE)
            if kept is None:
                run.stop("interrupted")
            elif kept.cancelled_at is not None:
                run.stop("cancelled")
        if not resume:
            return
        for batch in await self._store.claim(owner=self._owner, now=now, lease=now + LEASE):
            if batch.number not in self._runs:
                log.info("going on with a batch: %d of %d items have ended", batch.ended, batch.total)
                self._start(batch)

    def drain(self) -> None:
        """Begins nothing more, and ends what follows; a later process goes on with the rest. Idempotent."""
        self._closing = True
        for run, _ in self._runs.values():
            run.stop("interrupted")
        self.grown()

    async def aclose(self, grace: float) -> None:
        """Drains, and gives what is in flight so many seconds to end."""
        self.drain()
        tasks = {task for _, task in self._runs.values()}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, batch: Batch) -> None:
        means = self._ready()
        if self._closing:
            return
        run = Run(batch, means)
        task = asyncio.create_task(self._to_the_end(run))
        self._runs[batch.number] = run, task
        means.hook(BatchesInProgress(len(self._runs)))

    async def _to_the_end(self, run: Run) -> None:
        try:
            await run.go()
        except StoreError:
            log.exception("a batch stopped because its outcomes can't be filed; it goes on later")
        except Exception:
            log.exception("a batch stopped in a way nobody foresaw; it goes on later")
        finally:
            self._runs.pop(run.batch.number, None)
            self._ready().hook(BatchesInProgress(len(self._runs)))
            self.grown()

    def _ready(self) -> Means:
        assert self._means is not None  # noqa: S101  bootstrap begins before anything is served
        return self._means
