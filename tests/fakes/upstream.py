"""An upstream in memory. It passes the contract suite that the real caller passes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from cache_service.errors import CapacityExceeded, UpstreamRefused, UpstreamTimeout, UpstreamUnreachable
from cache_service.upstream.base import Call, PoolUse, Reply
from cache_service.upstream.usage import UsageFinder


@dataclass(frozen=True)
class Planned:
    """How one call is answered.

    pieces: the body; one piece unless it streams. cut: breaks off after the pieces. hang: nothing comes any more after them.
    unreachable: no connection.
    """

    pieces: tuple[bytes, ...] = (b"{}",)
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    cut: bool = False
    hang: bool = False
    unreachable: bool = False


Plan: TypeAlias = Callable[[Call], Planned]


def planned(value: Mapping[str, Any] | bytes, status: int = 200) -> Planned:
    """A whole JSON answer."""
    return Planned((value if isinstance(value, bytes) else json.dumps(value).encode(),), status)


class FakeUpstream:
    """Answers by a plan: a function of the call, or answers in order (the last one again and again)."""

    def __init__(
        self,
        plan: Plan | Sequence[Planned] = (),
        *,
        group: str = "fake",
        simulated: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        answers = () if callable(plan) else tuple(plan) or (Planned(),)
        self._plan: Plan = plan if callable(plan) else lambda _: answers[min(len(self.calls), len(answers)) - 1]
        self._group = group
        self._simulated = simulated
        self._clock = clock
        self._closed = False
        self.calls: list[Call] = []
        self.in_flight = 0
        self.usage_known = True
        self.gate = asyncio.Event()
        """Cleared by a test, it holds every call before its answer."""
        self.gate.set()

    @property
    def group(self) -> str:
        return self._group

    @property
    def simulated(self) -> bool:
        return self._simulated

    @asynccontextmanager
    async def send(self, call: Call) -> AsyncIterator[Reply]:
        if self._closed or call.deadline <= self._clock():
            raise CapacityExceeded("no capacity before the deadline", retry_after=1.0)
        self.calls.append(call)
        self.in_flight += 1
        try:
            await self._before(call, self.gate.wait())
            plan = self._plan(call)
            if plan.unreachable:
                raise UpstreamUnreachable("the call to the upstream failed")
            if not 200 <= plan.status < 300:
                raise UpstreamRefused(
                    f"the upstream answered {plan.status}",
                    status=plan.status,
                    headers=plan.headers,
                    body=b"".join(plan.pieces),
                    transient=plan.status == 429 or plan.status >= 500,
                )
            async with aclosing(self._pieces(call, plan)) as pieces:
                ready = pieces if call.stream else _one(b"".join([piece async for piece in pieces]))
                usage = UsageFinder()
                usage.feed(b"".join(plan.pieces))
                yield Reply(
                    plan.status,
                    plan.headers,
                    ready,
                    "key-1",
                    request_id=plan.headers.get("x-request-id"),
                    usage=lambda: usage.usage if self.usage_known else None,
                )
        finally:
            self.in_flight -= 1

    def pools(self) -> list[PoolUse]:
        limits = {"requests": None, "images": None, "tokens": None}
        return [PoolUse("default", ("key-1",), limits, in_flight=self.in_flight)]

    async def aclose(self) -> None:
        self._closed = True

    async def _pieces(self, call: Call, plan: Planned) -> AsyncGenerator[bytes]:
        for piece in plan.pieces:
            yield piece
        if plan.hang:
            await self._before(call, asyncio.Event().wait())
        if plan.cut:
            raise UpstreamUnreachable("the upstream's answer broke off")

    async def _before(self, call: Call, waiting: Any) -> None:
        try:
            async with asyncio.timeout(max(0.0, call.deadline - self._clock())):
                await waiting
        except TimeoutError:
            raise UpstreamTimeout("the upstream didn't answer before the deadline") from None


async def _one(body: bytes) -> AsyncGenerator[bytes]:
    yield body
