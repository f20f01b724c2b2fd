"""The pools of one process: calls queue here for capacity and are woken when it is theirs.

The order is `line`'s. Of calls that can go to the same pools a later one passes only where it is smaller, fits, and all before it
can bear it; a call that can use what an older one can't may go first, but once the older has waited `PASSING` seconds its
pools are held for it. Several processes need one holder that they share; this is the place for it.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from cache_service.errors import CapacityExceeded
from cache_service.upstream.base import PoolUse, Urgency
from cache_service.upstream.concurrency import LONGEST_PAUSE
from cache_service.upstream.key_pool import NOTHING_TOLD, AllOut, KeyPools, Later, PoolConfig, Ticket, Wanted
from cache_service.upstream.limit_headers import Told
from cache_service.upstream.line import Line, Waiting, let_pass, may_pass, smaller
from cache_service.upstream.meter import ROUNDING
from cache_service.upstream.rate_limit import Limits, Never
from cache_service.upstream.retry import Fault

Clock: TypeAlias = Callable[[], float]
Sleep: TypeAlias = Callable[[float], Awaitable[object]]

PASSING = 10.0
"""Seconds that others may go before a call that waits."""
LOOK_AHEAD = 4
"""So many calls behind the first of their kind are looked at for a smaller one that fits: a large one leaves 2 % of a limit unused."""


@dataclass(frozen=True, slots=True)
class Place:
    """A call's place in the queue; kept when it has to queue again, so that it comes back to the head."""

    urgency: Urgency
    deadline: float
    number: int

    @property
    def priority(self) -> int:
        """As it is now."""
        return self.urgency.priority


@dataclass(slots=True, eq=False)
class _Waiter(Waiting):
    wanted: Wanted = field(kw_only=True)
    since: float = field(kw_only=True)
    granted: asyncio.Future[Ticket] = field(kw_only=True, repr=False)

    def expired(self, now: float) -> bool:
        return self.deadline <= now + ROUNDING


class CallsOut(Exception):
    """Nothing that the call might use answers just now; `fault` says why, `wait` seconds until something is tried again."""

    def __init__(self, fault: Fault, wait: float) -> None:
        super().__init__(fault.detail)
        self.fault = fault
        self.wait = wait


class CapacityQueue:
    """Hands out the capacity of `KeyPools` in order."""

    def __init__(self, pools: KeyPools, *, max_queued: int, clock: Clock, sleep: Sleep) -> None:
        self._pools = pools
        self._max_queued = max_queued
        self._clock = clock
        self._sleep = sleep
        self._queue: Line[_Waiter] = Line()
        self._numbers = itertools.count()
        self._changed = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None

    def place(self, priority: int | Urgency, deadline: float) -> Place:
        """A place behind all of the same priority and deadline; who raises its priority moves it forward."""
        urgency = priority if isinstance(priority, Urgency) else Urgency(priority)
        return Place(urgency, deadline, next(self._numbers))

    async def acquire(self, wanted: Wanted, place: Place, *, again: bool = False) -> Ticket:
        """Waits for capacity; the ticket must be given to `finish`, `fail` or `abandon`.

        again: the call has been in the queue before, so the queue isn't too long for it.
        Raises CapacityExceeded (at once where the deadline can't be met or the queue is full) and CallsOut.
        """
        now = self._clock()
        if not again:
            self._refuse_if_hopeless(wanted, place, now)
        waiter = _Waiter(
            place.number,
            place.priority,
            place.deadline,
            wanted.cost,
            (wanted.model, wanted.excluded, wanted.impatient),
            again,
            wanted=wanted,
            since=now,
            granted=asyncio.get_running_loop().create_future(),
        )
        self._queue.join(waiter)
        self._dispatch()
        if not waiter.granted.done():
            self._keep_pumping()
        try:
            with place.urgency.heard_by(lambda: self._move(waiter, place.priority)):
                return await waiter.granted
        except asyncio.CancelledError:
            self._withdraw(waiter)
            raise

    def finish(self, ticket: Ticket, *, tokens: int | None = None, told: Told = NOTHING_TOLD) -> None:
        """The call went well; `tokens` as the upstream counted, None if it didn't say."""
        self._pools.finish(ticket, self._clock(), tokens=tokens, told=told)
        self._capacity_changed()

    def fail(self, ticket: Ticket, fault: Fault, *, wait: float = 0.0, told: Told = NOTHING_TOLD) -> None:
        """The call failed; `wait`: how long its pool takes no call of the model."""
        self._pools.fail(ticket, fault, self._clock(), wait=wait, told=told)
        self._capacity_changed()

    def abandon(self, ticket: Ticket, *, sent: bool = True) -> None:
        """Nobody waits for the call any more."""
        self._pools.abandon(ticket, self._clock(), sent=sent)
        self._capacity_changed()

    def check(self, pools: Sequence[PoolConfig]) -> None:
        """Raises ConfigurationError where these can't be the pools."""
        self._pools.check(pools)

    def exchange_keys(self, pools: Sequence[PoolConfig]) -> None:
        """Goes on with other keys and pools; whoever waits is given what has become free."""
        self._pools.exchange_keys(pools)
        self._capacity_changed()

    def projects(self) -> set[str]:
        """The upstream's ids of all projects that are known."""
        return self._pools.projects()

    def tell_limits(self, project: str, limits: Mapping[str, Limits]) -> None:
        """The upstream listed a project's limits by model."""
        self._pools.tell_limits(project, limits, self._clock())
        self._capacity_changed()

    def use(self) -> list[PoolUse]:
        """The pools as they stand."""
        return self._pools.use(self._clock())

    @property
    def queued(self) -> int:
        """Calls that wait."""
        return len(self._queue)

    async def aclose(self) -> None:
        """Refuses whoever still waits; idempotent."""
        self._refuse_all(CapacityExceeded("the service is shutting down"))
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.wait([self._pump])
            self._pump = None

    def _move(self, waiter: _Waiter, priority: int) -> None:
        if not waiter.left:
            self._queue.raise_to(waiter, priority)
            self._capacity_changed()

    def _refuse_if_hopeless(self, wanted: Wanted, place: Place, now: float) -> None:
        ahead = self._queue.ahead(self._queue.place_of(place.priority, place.deadline, wanted.cost))
        start = self._pools.earliest(wanted, ahead, now)
        if start > place.deadline or now >= place.deadline:
            raise self._too_late(wanted, start, now)
        if len(self._queue) >= self._max_queued:
            raise CapacityExceeded(
                f"{len(self._queue)} calls wait for capacity already", retry_after=max(1.0, start - now)
            )

    def _dispatch(self) -> float:
        """Gives out what there is. Returns when more can be there by the passing of time alone."""
        now = self._clock()
        wake = math.inf
        blocked: dict[Hashable, list[_Waiter]] = {}  # those that don't fit, by kind
        seen: Counter[Hashable] = Counter()  # of the same kind behind the first of those
        exhausted = 0
        held: frozenset[str] = frozenset()
        for waiter in self._queue:
            if exhausted == self._queue.kinds:
                break
            before = blocked.get(waiter.kind)
            if before is not None:
                seen[waiter.kind] += 1
                exhausted += seen[waiter.kind] == LOOK_AHEAD
            if waiter.granted.done() or waiter.expired(now) or not _may_try(waiter, before):
                continue
            choice = self._pools.take(waiter.wanted, now, held)
            if not isinstance(choice, Later) or (choice.sure and choice.until > waiter.deadline):
                for passed in before or ():
                    let_pass(waiter, passed)
                self._queue.leave(waiter, went=isinstance(choice, Ticket))
                self._answer(waiter, choice, now)
                continue
            wake = min(wake, choice.until)
            if before is None:
                blocked[waiter.kind] = before = []
                if now - waiter.since >= PASSING:
                    held |= choice.pools
            before.append(waiter)
        return wake

    def _answer(self, waiter: _Waiter, choice: Ticket | Later | Never | AllOut, now: float) -> None:
        match choice:
            case Ticket():
                waiter.granted.set_result(choice)
            case Later(until=until):
                waiter.granted.set_exception(self._too_late(waiter.wanted, until, now))
            case Never(reason=reason):
                waiter.granted.set_exception(CapacityExceeded(f"no limit pool can ever admit the call: {reason}"))
            case AllOut(fault=fault, until=until):
                waiter.granted.set_exception(CallsOut(fault, max(0.0, until - now)))

    def _too_late(self, wanted: Wanted, start: float, now: float) -> Exception:
        """Why the call can't go in time: what the upstream said where it is failing, else that its limits are used."""
        spell = self._pools.spell(wanted, now)
        if spell is not None:
            return CallsOut(spell, start - now)
        return CapacityExceeded("the limit pools can't admit the call before its deadline", retry_after=start - now)

    def _capacity_changed(self) -> None:
        if self._queue:
            self._dispatch()
            self._changed.set()

    def _keep_pumping(self) -> None:
        self._changed.set()
        if self._pump is None or self._pump.done():
            self._pump = asyncio.create_task(self._pump_until_empty(), name="capacity-queue")

    async def _pump_until_empty(self) -> None:
        """Wakes whoever waits for time to pass: for capacity, or for the deadline."""
        try:
            while self._queue:
                self._changed.clear()
                self._drop_expired()
                wake = min(self._dispatch(), self._queue.first_deadline())
                if self._queue:
                    await self._wait(wake - self._clock())
        except Exception as error:
            self._refuse_all(error)  # else they would wait for ever
            raise

    def _drop_expired(self) -> None:
        now = self._clock()
        for waiter in self._queue.expired(now + ROUNDING):
            self._queue.leave(waiter)
            if not waiter.granted.done():
                spell = self._pools.spell(waiter.wanted, now)
                waited = f"no capacity before the deadline, after {now - waiter.since:.1f} s in the queue"
                waiter.granted.set_exception(CallsOut(spell, LONGEST_PAUSE) if spell else CapacityExceeded(waited))

    async def _wait(self, seconds: float) -> None:
        changed = asyncio.ensure_future(self._changed.wait())
        waits: set[asyncio.Future[object]] = {changed}  # type: ignore[arg-type]
        if seconds < math.inf:
            waits.add(asyncio.ensure_future(self._sleep(max(0.0, seconds))))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _withdraw(self, waiter: _Waiter) -> None:
        """The waiter was cancelled; a ticket that it was just granted goes back."""
        if waiter in self._queue:
            self._queue.leave(waiter)
            self._changed.set()
        elif waiter.granted.done() and not waiter.granted.cancelled() and waiter.granted.exception() is None:
            self.abandon(waiter.granted.result(), sent=False)

    def _refuse_all(self, error: Exception) -> None:
        for waiter in self._queue.clear():
            if not waiter.granted.done():
                waiter.granted.set_exception(error)
        self._changed.set()


def _may_try(waiter: _Waiter, before: list[_Waiter] | None) -> bool:
    """Whether it is the call's turn, those of its kind before it not fitting yet."""
    if before is None:
        return True
    return smaller(waiter.cost, before[-1].cost) and all(may_pass(waiter, passed) for passed in before)
