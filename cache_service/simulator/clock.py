"""Time as an argument: a real clock for sockets, a virtual one in which an hour passes in seconds.

The virtual clock drives one event loop in one process (no sockets): whenever nothing can happen at this instant, it moves
to the next sleeper's time.
"""

# ruff: noqa: D102  # the promises stand once, in Clock
from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

T = TypeVar("T")

SETTLING_ROUNDS = 25
"""Turns of the event loop without a new sleeper after which this instant counts as over."""


class Clock(Protocol):
    """What the simulator asks of time."""

    def now(self) -> float:
        """Seconds that never go back; for limits, latencies and spells."""

    def time(self) -> float:
        """Seconds since 1970; for `created` and shutdown dates."""

    async def sleep(self, seconds: float) -> None:
        """Returns that much later; for 0 and less at the loop's next turn."""

    async def in_thread(self, work: Callable[[], T]) -> T:
        """The result of CPU work done beside the loop; on a virtual clock it takes no time."""


class RealClock:
    """The machine's clocks."""

    def now(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))

    async def in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.to_thread(work)


class VirtualClock:
    """Time that moves only in `run` and `advance`.

    epoch: what `time()` says when `now()` is 0, in seconds since 1970.
    """

    def __init__(self, *, epoch: float = 1_795_000_000.0) -> None:
        self._epoch = epoch
        self._now = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._activity = 0
        self._threads: set[asyncio.Future[Any]] = set()

    def now(self) -> float:
        return self._now

    def time(self) -> float:
        return self._epoch + self._now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waking: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._numbers), waking))
        self._activity += 1
        await waking

    async def in_thread(self, work: Callable[[], T]) -> T:
        running = asyncio.ensure_future(asyncio.to_thread(work))
        self._threads.add(running)
        running.add_done_callback(self._threads.discard)
        try:
            return await running
        finally:
            self._activity += 1

    async def run(self, work: Awaitable[T]) -> T:
        """The result of `work`, moving time on as often as it takes. Raises RuntimeError if work waits for no time."""
        task = asyncio.ensure_future(work)
        while not task.done():
            await self._settle()
            if not task.done() and not self._wake_next():
                task.cancel()
                raise RuntimeError("nothing is waiting for time to pass, and the work isn't done")
        return await task

    async def advance(self, seconds: float) -> None:
        """Moves time on by that much, waking all who sleep until then, in order."""
        until = self._now + seconds
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= until:
            self._wake_next()
            await self._settle()
        self._now = until

    def _wake_next(self) -> bool:
        while self._sleepers:
            due, _, waking = heapq.heappop(self._sleepers)
            if not waking.done():
                self._now = max(self._now, due)
                waking.set_result(None)
                return True
        return False

    async def _settle(self) -> None:
        """Returns once everything that can happen at this instant has happened."""
        quiet, seen = 0, self._activity
        while quiet < SETTLING_ROUNDS:
            if self._threads:
                await asyncio.wait(set(self._threads), return_when=asyncio.FIRST_COMPLETED)
            await asyncio.sleep(0)
            quiet = quiet + 1 if seen == self._activity else 0
            seen = self._activity
