"""The second file to read: one call to the upstream, from its place in the queue to its settled bill.

    send                     the caller's block: a reply, and whatever happens the slot comes back
      _call_until_answered   capacity ─► attempt ─► done, or the next step: elsewhere, again later, give up
        _capacity            queue, reserve a pool's capacity, take one of its keys
        _attempt             one HTTP call under the deadline, settled by what came of it
          _judge             2xx with a result, or which fault it is

What is decided is decided in pure modules (`rate_limit`, `key_pool`, `concurrency`, `retry`); here it is carried out.
"""

from __future__ import annotations

import asyncio
import random as random_module
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import assert_never

from cache_service.errors import (
    CapacityExceeded,
    UpstreamError,
    UpstreamRefused,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from cache_service.instrumentation.events import Hook, MaybePaidTwice, UpstreamCalled, ignore
from cache_service.upstream.base import Call, PoolUse, Reply
from cache_service.upstream.key_pool import NOTHING_TOLD, KeyPools, PoolConfig, Ticket, Wanted
from cache_service.upstream.levels import MODELS_REMEMBERED
from cache_service.upstream.limit_headers import Told, read_concurrent_limit, read_told
from cache_service.upstream.masking import mask_secrets
from cache_service.upstream.memory import CallsOut, CapacityQueue, Clock, Place, Sleep
from cache_service.upstream.openai import Answer, CallFailed, Transport
from cache_service.upstream.rate_limit import Limits
from cache_service.upstream.retry import (
    FREE,
    MAYBE_PAID,
    PACED,
    TRANSIENT,
    Elsewhere,
    Fault,
    FaultKind,
    GiveUp,
    Repeat,
    RetryBudget,
    classify,
    classify_error_in_success,
    next_step,
    only_error,
    refusal_wait,
)
from cache_service.upstream.usage import UsageFinder, total_tokens

MOST_ERROR_BYTES = 1024 * 1024
"""Bytes of an error's body that are read; real ones have some hundreds."""
LEAST_TIME = 0.05
"""Seconds that must be left for a call: in fewer it could only be paid, not answered."""
SHOWN_HEADERS = frozenset(
    {
        "content-type",
        "openai-processing-ms",
        "openai-version",
        "retry-after",
        "retry-after-ms",
        "x-request-id",
        "x-should-retry",
    }
)
"""The upstream's headers that clients may see. Its limits, organisation and project are the operator's own business."""
OPERATIONS = (("/images/", "images"), ("/chat/", "chat"), ("/models", "models"))


@dataclass(slots=True)
class _Progress:
    """One call on its way. attempts: those that count; calls: all, also those refused for their rate."""

    place: Place
    wanted: Wanted
    attempts: int = 0
    calls: int = 0
    refusals: int = 0
    maybe_paid: int = 0
    queued: float = 0.0
    fault: Fault | None = None

    def record(self, fault: Fault) -> None:
        """One call failed. A refusal for its rate, or one that holds for a key or pool alone, is no attempt: it took 50 ms."""
        self.fault = fault
        self.refusals += fault.kind in PACED
        self.attempts += fault.kind not in FREE
        self.maybe_paid += fault.kind in MAYBE_PAID


@dataclass(frozen=True, slots=True, eq=False)
class _Begun:
    """A 2xx whose first piece is there (None: it had none); for a call that doesn't stream that is all of it."""

    answer: Answer
    first: bytes | None


class UpstreamCaller:
    """Calls one OpenAI-compatible API through several keys; implements `Upstream`.

    clock: seconds, monotonic; a call's deadline is on it. wall_clock: Unix seconds, for dates in headers.
    attempt_timeout: seconds of one attempt, None for all that the deadline leaves. secrets: beside the keys, what no client or log
    may see (values of headers). random: draws from [0, 1).
    """

    def __init__(
        self,
        transport: Transport,
        pools: Sequence[PoolConfig],
        *,
        group: str,
        simulated: bool = False,
        max_queued: int = 1000,
        max_attempts: int = 3,
        attempt_timeout: float | None = None,
        secrets: Sequence[str] = (),
        clock: Clock = time.monotonic,
        wall_clock: Clock = time.time,
        sleep: Sleep = asyncio.sleep,
        random: Callable[[], float] = random_module.random,
        organizations: Mapping[str, Limits] | None = None,
        hook: Hook = ignore,
    ) -> None:
        self._transport = transport
        self._group = group
        self._simulated = simulated
        self._max_attempts = max_attempts
        self._attempt_timeout = attempt_timeout
        self._clock = clock
        self._wall_clock = wall_clock
        self._sleep = sleep
        self._random = random
        self._hook = hook
        self._models: dict[str, None] = {}
        self._queue = CapacityQueue(KeyPools(pools, organizations), max_queued=max_queued, clock=clock, sleep=sleep)
        self._budget = RetryBudget()
        self._secrets = [*_secrets(pools), *secrets]

    @property
    def group(self) -> str:
        """Names who answers."""
        return self._group

    @property
    def simulated(self) -> bool:
        """True while the built-in simulator answers."""
        return self._simulated

    @asynccontextmanager
    async def send(self, call: Call) -> AsyncIterator[Reply]:
        """Reserves, calls, retries as allowed, settles; leaving the block ends the call and gives its slot back.

        Raises UpstreamRefused, UpstreamUnreachable, UpstreamTimeout, CapacityExceeded; the second and third also while
        the pieces of a stream are read.
        """
        async with AsyncExitStack() as resources:
            yield await self._call_until_answered(call, resources)

    def pools(self) -> list[PoolUse]:
        """The limit pools as they stand."""
        return self._queue.use()

    def check(self, pools: Sequence[PoolConfig]) -> None:
        """Raises ConfigurationError where `exchange_keys` can't take these."""
        self._queue.check(pools)

    def exchange_keys(self, pools: Sequence[PoolConfig]) -> None:
        """Calls with these keys from now on. What stays keeps its state, and calls in flight with a key that is gone end as usual."""
        self._secrets += [secret for secret in _secrets(pools) if secret not in self._secrets]  # old ones stay masked
        self._queue.exchange_keys(pools)

    def models(self) -> list[str]:
        """The models that were asked for of late."""
        return list(self._models)

    def projects(self) -> set[str]:
        """The upstream's ids of the projects that the keys are known to belong to."""
        return self._queue.projects()

    def tell_limits(self, project: str, limits: Mapping[str, Limits]) -> None:
        """The upstream listed a project's limits by model."""
        self._queue.tell_limits(project, limits)

    @property
    def queued(self) -> int:
        """Calls that wait for capacity."""
        return self._queue.queued

    async def aclose(self) -> None:
        """Refuses whoever waits and closes connections; idempotent."""
        await self._queue.aclose()
        await self._transport.aclose()

    async def _call_until_answered(self, call: Call, resources: AsyncExitStack) -> Reply:
        """The reply of the first attempt that succeeds. Raises the last fault where no attempt may follow it."""
        place = self._queue.place(call.urgency or call.priority, call.deadline - LEAST_TIME)
        progress = _Progress(place, Wanted(call.cost, call.model, impatient=call.impatient))
        self._budget.called()
        self._remember(call.model)
        try:
            return await self._attempt_until_answered(call, progress, resources)
        except UpstreamError as error:
            error.maybe_paid = progress.maybe_paid
            raise

    async def _attempt_until_answered(self, call: Call, progress: _Progress, resources: AsyncExitStack) -> Reply:
        while True:
            ticket = await self._capacity(progress)
            outcome = await self._attempt(call, ticket, progress, resources)
            if isinstance(outcome, Reply):
                return outcome
            step = next_step(
                outcome,
                attempts=progress.attempts,
                most_attempts=self._max_attempts,
                maybe_paid=progress.maybe_paid,
                draw=self._random(),
            )
            match step:
                case Elsewhere(exclude=exclude):
                    if exclude:
                        excluded = progress.wanted.excluded | {ticket.pool_name}
                        progress.wanted = replace(progress.wanted, excluded=excluded)
                case Repeat(delay=delay):
                    now = self._clock()
                    if now + delay + LEAST_TIME > call.deadline or not self._budget.spend(now):
                        raise _error(outcome)
                    if outcome.kind in MAYBE_PAID:
                        self._hook(MaybePaidTwice(_operation(call.path)))
                    await self._sleep(delay)
                case GiveUp():
                    raise _error(outcome)
                case _:
                    assert_never(step)

    def _remember(self, model: str | None) -> None:
        if model is not None and model not in self._models:
            while len(self._models) >= MODELS_REMEMBERED:
                del self._models[next(iter(self._models))]
            self._models[model] = None

    async def _capacity(self, progress: _Progress) -> Ticket:
        """A pool's capacity and one of its keys, as soon as it is this call's turn."""
        began = self._clock()
        try:
            return await self._queue.acquire(progress.wanted, progress.place, again=progress.calls > 0)
        except CallsOut as out:
            raise _error(out.fault, retry_after=out.wait) from None
        except CapacityExceeded:
            if progress.fault is not None and progress.wanted.excluded:
                raise _error(progress.fault) from None  # no pool is left that hasn't said so
            raise
        finally:
            progress.queued += self._clock() - began

    async def _attempt(
        self, call: Call, ticket: Ticket, progress: _Progress, resources: AsyncExitStack
    ) -> Reply | Fault:
        """One HTTP call; its capacity is settled once its connection is closed or, for a stream, at the stream's end."""
        progress.calls += 1
        bill = _Bill(call, ticket, progress.queued, self._clock(), self._clock, self._queue, self._hook)
        async with AsyncExitStack() as connection:
            connection.callback(bill.settle)
            judged = await self._exchange(call, bill, connection)
            if isinstance(judged, Fault):
                progress.record(judged)
                bill.fault = judged
                if judged.kind in PACED:
                    bill.wait = refusal_wait(judged, progress.refusals - 1, self._random())
                return judged
            if call.stream:
                pieces = self._stream(call, judged, bill)
                resources.push_async_exit(connection.pop_all())
                resources.push_async_callback(pieces.aclose)
            else:
                body = judged.first or b""
                bill.usage.feed(body)
                bill.complete = True
                pieces = _one(body)
        return Reply(
            status=judged.answer.status,
            headers=_shown(judged.answer.headers),
            pieces=pieces,
            key_name=ticket.named_key.name,
            queued=progress.queued,
            attempts=progress.calls,
            request_id=judged.answer.headers.get("x-request-id"),
            maybe_paid=progress.maybe_paid,
            usage=lambda: bill.usage.usage,
        )

    async def _exchange(self, call: Call, bill: _Bill, connection: AsyncExitStack) -> _Begun | Fault:
        """Calls under the deadline and judges the answer; the connection stays open for what is left of a stream."""
        timeout = max(0.0, call.deadline - self._clock())
        if self._attempt_timeout is not None:
            timeout = min(timeout, self._attempt_timeout)
        secret = bill.ticket.named_key.secret
        begun = False
        try:
            async with asyncio.timeout(timeout):
                opening = self._transport.open(call.method, call.path, call.body, secret, within=timeout)
                answer = await connection.enter_async_context(opening)
                begun = True
                bill.told = read_told(answer.headers)
                bill.concurrent_limit = read_concurrent_limit(answer.headers)
                return await self._judge(call, answer)
        except CallFailed as failed:
            return Fault(_as_far_as_it_got(failed.kind, begun=begun), failed.detail)
        except TimeoutError:
            return Fault(FaultKind.TIMEOUT, f"the upstream didn't answer within {timeout:.1f} s")

    async def _judge(self, call: Call, answer: Answer) -> _Begun | Fault:
        """Whether the answer is a result; if it is no stream, all of it is read."""
        if not 200 <= answer.status < 300:
            body = await _error_body(answer.pieces)
            return self._masked(classify(answer.status, answer.headers, body, self._wall_clock()))
        if call.stream:
            first = await anext(answer.pieces, None)
            told = _first_event(first or b"")
        else:
            first = told = b"".join([piece async for piece in answer.pieces])
        if (error := only_error(told)) is not None:
            return self._masked(classify_error_in_success(error, answer.headers, told, self._wall_clock()))
        return _Begun(answer, first)

    def _masked(self, fault: Fault) -> Fault:
        """The fault without any key in what clients and logs may see of it; judged before, since a key may be any word."""
        return replace(
            fault,
            detail=self._mask(fault.detail),
            code=None if fault.code is None else self._mask(fault.code),
            headers={name: self._mask(value) for name, value in _shown(fault.headers).items()},
            body=mask_secrets(fault.body, self._secrets),
        )

    def _mask(self, text: str) -> str:
        return mask_secrets(text.encode("utf-8", "replace"), self._secrets).decode("utf-8", "replace")

    async def _stream(self, call: Call, begun: _Begun, bill: _Bill) -> AsyncGenerator[bytes]:
        """The pieces as they arrive. What goes wrong from here on is the reader's to know: nothing is repeated."""
        piece = begun.first
        try:
            while piece is not None:
                bill.usage.feed(piece)
                yield piece
                async with asyncio.timeout(max(0.0, call.deadline - self._clock())):
                    piece = await anext(begun.answer.pieces, None)
        except CallFailed as failed:
            bill.fault = Fault(_as_far_as_it_got(failed.kind, begun=True), failed.detail)
        except TimeoutError:
            bill.fault = Fault(FaultKind.TIMEOUT, "the upstream's stream didn't end before the deadline")
        else:
            bill.complete = True
        if bill.fault is not None:
            raise _error(bill.fault)
        bill.settle()


@dataclass(slots=True)
class _Bill:
    """What one HTTP call came to. `settle` closes it, once: paid, failed, or left by its reader."""

    call: Call
    ticket: Ticket
    queued: float
    began: float
    clock: Clock
    queue: CapacityQueue
    hook: Hook
    usage: UsageFinder = field(default_factory=UsageFinder)
    complete: bool = False
    fault: Fault | None = None
    told: Told = NOTHING_TOLD
    concurrent_limit: int | None = None
    wait: float = 0.0
    settled: bool = False

    def settle(self) -> None:
        """Gives the slot back and what was reserved beyond the use; what may have been paid stays charged."""
        if self.settled:
            return
        self.settled = True
        tokens = total_tokens(self.usage.usage)
        if self.fault is not None:
            self.queue.fail(self.ticket, self.fault, wait=self.wait, told=self.told)
            outcome = str(self.fault.kind)
        elif self.complete:
            self.queue.finish(self.ticket, tokens=tokens, told=self.told)
            outcome = "ok"
        else:
            self.queue.abandon(self.ticket)
            outcome = "abandoned"
        self.hook(
            UpstreamCalled(
                operation=_operation(self.call.path),
                key_name=self.ticket.named_key.name,
                outcome=outcome,
                seconds=self.clock() - self.began,
                queued=self.queued,
                images=self.call.cost.images if outcome == "ok" else 0,
                tokens=tokens or 0,
                pool=self.ticket.pool_name,
                concurrent_limit=self.concurrent_limit,
            )
        )


def _secrets(pools: Sequence[PoolConfig]) -> list[str]:
    """Every key that is sent."""
    return [key.secret for pool in pools for key in pool.keys if key.secret is not None]


def _as_far_as_it_got(kind: FaultKind, *, begun: bool) -> FaultKind:
    """An answer that began had been worked for, so that losing the rest of it is another thing than getting none."""
    return FaultKind.CUT if begun and kind is FaultKind.BROKEN else kind


def _error(fault: Fault, *, retry_after: float | None = None) -> UpstreamError:
    """What the caller is told of a fault. The text holds nothing that the upstream wrote: that may repeat the prompt."""
    wait = fault.wait if retry_after is None else retry_after
    if fault.kind is FaultKind.TIMEOUT:
        return UpstreamTimeout(fault.detail)
    if fault.status is None or fault.kind is FaultKind.REDIRECT:
        return UpstreamUnreachable(fault.detail, retry_after=wait)
    return UpstreamRefused(
        fault.detail,
        status=fault.status,
        headers=fault.headers,
        body=fault.body,
        transient=fault.kind in TRANSIENT,
        code=fault.code,
        retry_after=wait,
        kind=str(fault.kind),
    )


async def _one(body: bytes) -> AsyncGenerator[bytes]:
    yield body


async def _error_body(pieces: AsyncIterator[bytes]) -> bytes:
    """The body of an error, as much of it as came and is worth reading: the status tells enough without it."""
    body = b""
    try:
        async for piece in pieces:
            body += piece
            if len(body) > MOST_ERROR_BYTES:
                break
    except CallFailed:
        pass
    return body[:MOST_ERROR_BYTES]


def _first_event(piece: bytes) -> bytes:
    """The data of the first event of a stream, or the piece itself where it is no event."""
    lines = piece.lstrip().splitlines()
    return next((line[5:].strip() for line in lines if line.startswith(b"data:")), piece)


def _shown(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name in SHOWN_HEADERS}


def _operation(path: str) -> str:
    return next((name for start, name in OPERATIONS if path.startswith(start)), "other")
